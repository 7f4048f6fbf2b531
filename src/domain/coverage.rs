//! Where images stand, as a sweep finds them: what scans and the policy cover, and what they do not.

use std::collections::BTreeMap;

use super::findings::{NEVER_SCANNED, Scan};

/// The state of a scan of an image that is too large for its scanner (ECR API model, ScanStatus).
pub(super) const IMAGE_SIZE_EXCEEDED: &str = "IMAGE_SIZE_EXCEEDED";

/// Where one image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// No limit is exceeded.
    Clean,
    /// A limit is exceeded, and its tags go.
    Untag,
    /// The same, were it not for audit mode.
    WouldUntag,
    /// A limit is exceeded, and its tags stay: they are protected, or something holds them.
    Blocked,
    /// A limit is exceeded, and the next pull would bring its tags back from another registry.
    PullThrough,
    /// It bears our mark and no tag that people pull by.
    Quarantined,
    /// Nothing has ever scanned it.
    NeverScanned,
    /// Its scan has not ended.
    Scanning,
    /// Its scan failed.
    ScanFailed,
    /// Its scanner does not know what it is made of.
    Unsupported,
    /// It is larger than its scanner takes.
    SizeExceeded,
    /// Enhanced scanning has stopped to look at it: its findings are closed, not mended.
    Expired,
    /// ECR has no findings, for another reason.
    Unavailable,
    /// It is archived: nobody can pull it, and it is not scanned.
    Archived,
    /// It is an index that cannot be judged by its images, or not as a whole.
    IndexOnly,
    /// It is no container image.
    NotAnImage,
    /// It could not be looked at.
    Failed,
}

impl Coverage {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::Clean,
        Self::Untag,
        Self::WouldUntag,
        Self::Blocked,
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

    /// The word of metrics, messages and notices.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Untag => "untag",
            Self::WouldUntag => "would_untag",
            Self::Blocked => "blocked",
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

    /// The one with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coverage| coverage.as_str() == word)
    }

    /// Where an image stands of which its scan says nothing to judge by; `None` where it does (ECR API reference,
    /// ScanStatus).
    #[must_use]
    pub fn of_gap(scan: &Scan) -> Option<Self> {
        Some(match scan {
            Scan::Complete(_) | Scan::Active(_) => return None,
            Scan::Pending(state) if state == NEVER_SCANNED => Self::NeverScanned,
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

    /// Whether a limit is exceeded and people can still pull it.
    #[must_use]
    pub fn violates(self) -> bool {
        matches!(self, Self::Untag | Self::WouldUntag | Self::Blocked | Self::PullThrough)
    }

    /// Whether people can pull it and nobody knows how bad it is.
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

/// How many images stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<Coverage, u64>);

impl Census {
    /// One more image that stands there.
    pub fn count(&mut self, coverage: Coverage) {
        self.add(coverage, 1);
    }

    /// So many more.
    pub fn add(&mut self, coverage: Coverage, images: u64) {
        if images > 0 {
            let count = self.0.entry(coverage).or_default();
            *count = count.saturating_add(images);
        }
    }

    /// How many stand there.
    #[must_use]
    pub fn of(&self, coverage: Coverage) -> u64 {
        self.0.get(&coverage).copied().unwrap_or_default()
    }

    /// Those that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Coverage, u64)> + '_ {
        self.0.iter().map(|(coverage, images)| (*coverage, *images))
    }

    /// How many stand where this is true.
    pub fn sum(&self, of: impl Fn(Coverage) -> bool) -> u64 {
        let counts = self.iter().filter(|(coverage, _)| of(*coverage)).map(|(_, images)| images);
        counts.fold(0, u64::saturating_add)
    }

    /// Adds another.
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
    fn words_map_both_ways() {
        for coverage in Coverage::ALL {
            assert_eq!(Coverage::from_word(coverage.as_str()), Some(coverage));
        }
        assert_eq!(Coverage::from_word("all"), None);
    }

    #[test]
    fn no_state_of_a_scan_without_findings_counts_as_clean() {
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
        assert_eq!(pending(NEVER_SCANNED), Some(Coverage::NeverScanned));
        assert_eq!(pending("IN_PROGRESS"), Some(Coverage::Scanning));
        assert_eq!(Coverage::of_gap(&Scan::Complete(Default::default())), None);
    }
}
