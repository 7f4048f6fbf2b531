//! The result of a sweep for each image: what scans and the policy cover, and what they do not.

use std::collections::BTreeMap;

use super::findings::{IMAGE_SIZE_EXCEEDED, Scan};

/// The result of a sweep for one image. Each image has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// No limit is exceeded.
    Clean,
    /// A limit is exceeded, and the tags are removed.
    Untag,
    /// A limit is exceeded, and the tags would be removed if the mode were not `audit`.
    WouldUntag,
    /// A limit is exceeded, and the tags stay, because they are protected or a safeguard keeps
    /// them.
    Blocked,
    /// A limit is exceeded, and the tags stay until a time, because somebody holds the image.
    Held,
    /// A limit is exceeded, and the tags stay, because the next pull would bring them back from
    /// another registry.
    PullThrough,
    /// The image has its quarantine tag and no tag that people pull by.
    Quarantined,
    /// No scanner has ever scanned the image.
    NeverScanned,
    /// The scan has not ended yet.
    Scanning,
    /// The scan failed.
    ScanFailed,
    /// The scanner does not support the image.
    Unsupported,
    /// The image is too large for the scanner.
    SizeExceeded,
    /// Enhanced scanning has stopped for this image: its findings are closed, not fixed.
    Expired,
    /// ECR has no findings for another reason.
    Unavailable,
    /// The image is archived: nobody can pull it, and no scanner scans it.
    Archived,
    /// An index that cannot be judged by its images, or not by all of them.
    IndexOnly,
    /// The manifest is not a container image.
    NotAnImage,
    /// The image could not be inspected.
    Failed,
}

impl Coverage {
    /// All results.
    pub const ALL: [Self; 18] = [
        Self::Clean,
        Self::Untag,
        Self::WouldUntag,
        Self::Blocked,
        Self::Held,
        Self::PullThrough,
        Self::Quarantined,
        Self::NeverScanned,
        Self::Scanning,
        Self::ScanFailed,
        Self::Unsupported,
        Self::SizeExceeded,
        Self::Expired,
        Self::Unavailable,
        Self::Archived,
        Self::IndexOnly,
        Self::NotAnImage,
        Self::Failed,
    ];

    /// Returns the word that metrics, messages and notices use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Untag => "untag",
            Self::WouldUntag => "would_untag",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::PullThrough => "pull_through",
            Self::Quarantined => "quarantined",
            Self::NeverScanned => "never_scanned",
            Self::Scanning => "scanning",
            Self::ScanFailed => "scan_failed",
            Self::Unsupported => "unsupported",
            Self::SizeExceeded => "size_exceeded",
            Self::Expired => "expired",
            Self::Unavailable => "unavailable",
            Self::Archived => "archived",
            Self::IndexOnly => "index_only",
            Self::NotAnImage => "not_an_image",
            Self::Failed => "failed",
        }
    }

    /// Returns the result with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coverage| coverage.as_str() == word)
    }

    /// Returns the result for an image whose scan has no findings to judge, or `None` if the scan
    /// has findings (ECR API reference, ScanStatus).
    #[must_use]
    pub fn of_gap(scan: &Scan) -> Option<Self> {
        Some(match scan {
            Scan::Complete(_) | Scan::Active(_) => return None,
            Scan::NeverScanned => Self::NeverScanned,
            Scan::Pending(_) => Self::Scanning,
            Scan::Unavailable(state) => match state.as_str() {
                "FAILED" => Self::ScanFailed,
                "UNSUPPORTED_IMAGE" => Self::Unsupported,
                IMAGE_SIZE_EXCEEDED => Self::SizeExceeded,
                "SCAN_ELIGIBILITY_EXPIRED" => Self::Expired,
                "IMAGE_ARCHIVED" => Self::Archived,
                _ => Self::Unavailable,
            },
        })
    }

    /// Returns whether the image exceeds a limit and people can still pull it.
    #[must_use]
    pub fn violates(self) -> bool {
        matches!(
            self,
            Self::Untag | Self::WouldUntag | Self::Blocked | Self::Held | Self::PullThrough
        )
    }

    /// Returns whether people can pull the image and nobody knows how vulnerable it is.
    #[must_use]
    pub fn is_gap(self) -> bool {
        matches!(
            self,
            Self::NeverScanned
                | Self::ScanFailed
                | Self::Unsupported
                | Self::SizeExceeded
                | Self::Expired
                | Self::Unavailable
                | Self::IndexOnly
                | Self::Failed
        )
    }
}

/// The number of images by result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<Coverage, u64>);

impl Census {
    /// Adds one image.
    pub fn count(&mut self, coverage: Coverage) {
        self.add(coverage, 1);
    }

    /// Adds a number of images.
    pub fn add(&mut self, coverage: Coverage, images: u64) {
        if images > 0 {
            let count = self.0.entry(coverage).or_default();
            *count = count.saturating_add(images);
        }
    }

    /// Returns the number of images with this result.
    #[must_use]
    pub fn of(&self, coverage: Coverage) -> u64 {
        self.0.get(&coverage).copied().unwrap_or_default()
    }

    /// Iterates over the results that at least one image has, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Coverage, u64)> + '_ {
        self.0.iter().map(|(coverage, images)| (*coverage, *images))
    }

    /// Returns the number of images whose result satisfies a condition.
    pub fn sum(&self, of: impl Fn(Coverage) -> bool) -> u64 {
        let counts = self.iter().filter(|(coverage, _)| of(*coverage)).map(|(_, images)| images);
        counts.fold(0, u64::saturating_add)
    }

    /// Adds the numbers of another census.
    pub fn absorb(&mut self, other: &Self) {
        for (coverage, images) in other.iter() {
            self.add(coverage, images);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back_to_its_coverage() {
        for coverage in Coverage::ALL {
            assert_eq!(Coverage::from_word(coverage.as_str()), Some(coverage));
        }
        assert_eq!(Coverage::from_word("all"), None);
    }

    #[test]
    fn scan_without_findings_is_a_gap_and_never_clean() {
        let states = [
            "FAILED",
            "UNSUPPORTED_IMAGE",
            IMAGE_SIZE_EXCEEDED,
            "SCAN_ELIGIBILITY_EXPIRED",
            "NEWS",
            "",
        ];
        for state in states {
            let gap = Coverage::of_gap(&Scan::Unavailable(state.to_owned()));
            assert!(gap.is_some_and(Coverage::is_gap), "{state:?} {gap:?}");
        }
        let pending = |state: &str| Coverage::of_gap(&Scan::Pending(state.to_owned()));
        assert_eq!(Coverage::of_gap(&Scan::NeverScanned), Some(Coverage::NeverScanned));
        assert_eq!(pending("IN_PROGRESS"), Some(Coverage::Scanning));
        assert_eq!(Coverage::of_gap(&Scan::Complete(Default::default())), None);
    }
}
