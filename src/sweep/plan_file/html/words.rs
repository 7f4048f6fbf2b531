//! The words and numbers of the page.

use crate::domain::coverage::Coverage;
use crate::domain::text::start;

/// The longest text of a stranger that is shown whole, in characters. Tags and repository names
/// are shorter (ECR API reference).
const LONGEST: usize = 500;

/// What a coverage means for its readers. The class of the style sheet has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Tags would be removed.
    Change,
    /// A limit is exceeded, and the tags stay.
    Stays,
    /// Nobody knows how vulnerable it is.
    Unseen,
    /// It could not be inspected.
    Failed,
    /// The scan has not ended.
    Waits,
    /// No limit is exceeded.
    Clean,
    /// Nobody pulls it, or it is no image.
    Other,
}

impl Group {
    /// All groups, in the order in which people have to look at them.
    pub(super) const ALL: [Self; 7] = [
        Self::Change,
        Self::Stays,
        Self::Unseen,
        Self::Failed,
        Self::Waits,
        Self::Clean,
        Self::Other,
    ];

    /// Returns the group of a coverage. A word that this version does not know counts as unseen,
    /// because it must not pass for clean.
    pub(super) fn of(coverage: Option<Coverage>) -> Self {
        match coverage {
            Some(Coverage::Untag | Coverage::WouldUntag) => Self::Change,
            Some(Coverage::Blocked | Coverage::Held | Coverage::PullThrough) => Self::Stays,
            Some(Coverage::Failed) => Self::Failed,
            Some(Coverage::Scanning) => Self::Waits,
            Some(Coverage::Clean) => Self::Clean,
            Some(Coverage::Quarantined | Coverage::Archived | Coverage::NotAnImage) => Self::Other,
            _ => Self::Unseen,
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Stays => "stays",
            Self::Unseen => "unseen",
            Self::Failed => "failed",
            Self::Waits => "waits",
            Self::Clean => "clean",
            Self::Other => "other",
        }
    }

    /// Describes the images of the group, after their number.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Change => "would lose tags",
            Self::Stays => "exceed a limit and keep their tags",
            Self::Unseen => "no scan covers",
            Self::Failed => "could not be inspected",
            Self::Waits => "with a scan that has not ended",
            Self::Clean => "within the policy",
            Self::Other => "in quarantine, archived or no container image",
        }
    }
}

/// Describes the images with this coverage.
pub(super) fn coverage(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Clean => "Within the policy",
        Coverage::Untag => "Would lose tags",
        Coverage::WouldUntag => "Would lose tags if the mode were enforce",
        Coverage::Blocked => "Over a limit; protected, or kept by a safeguard",
        Coverage::Held => "Over a limit; somebody holds it until a time",
        Coverage::PullThrough => "Over a limit; a pull-through cache would bring it back",
        Coverage::Quarantined => "In quarantine already",
        Coverage::NeverScanned => "Never scanned",
        Coverage::Scanning => "The scan has not ended yet",
        Coverage::ScanFailed => "The scan failed",
        Coverage::Unsupported => "Not supported by the scanner",
        Coverage::SizeExceeded => "Too large for the scanner",
        Coverage::Expired => "Enhanced scanning has stopped",
        Coverage::Unavailable => "No findings are available",
        Coverage::Archived => "Archived; nobody can pull it",
        Coverage::IndexOnly => "Index; not all of its images are scanned",
        Coverage::NotAnImage => "No container image (chart, signature)",
        Coverage::Failed => "Could not be inspected",
    }
}

/// Returns the start of a text that other people wrote.
pub(super) fn text(text: &str) -> String {
    start(text, LONGEST)
}

/// Writes a time of RFC 3339 as people read it. Anything else stays as it is.
pub(super) fn time(at: &str) -> String {
    match at.strip_suffix('Z').and_then(|at| at.split_once('T')) {
        Some((day, time)) => text(&format!("{day} {time} UTC")),
        None => text(at),
    }
}

/// Writes a number with a comma after each three digits. Those that are too long for a column on a
/// telephone are rounded.
pub(super) fn number(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{},{:03}", number / 1_000, number % 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} M", rounded(number) / 1e6),
        _ => "> 999 M".to_owned(),
    }
}

/// Writes a number of things in words.
pub(super) fn many(count: u64, one: &str, several: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { several })
}

/// Returns the share in per cent, at most 100.
pub(super) fn per_cent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (rounded(part) / rounded(whole) * 100.0).min(100.0)
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit behind the point")]
pub(super) fn rounded(number: u64) -> f64 {
    number as f64
}

/// Writes a share so that no image disappears by rounding.
pub(super) fn share(part: u64, whole: u64) -> String {
    match per_cent(part, whole) {
        share if part > 0 && share < 0.1 => "< 0.1 %".to_owned(),
        share if part < whole && share > 99.9 => "> 99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// Writes the width of a bar, which is visible unless the part is zero.
pub(super) fn width(part: u64, whole: u64) -> String {
    let least = if part == 0 { 0.0 } else { 1.0 };
    format!("{:.2}%", per_cent(part, whole).max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_stay_short() {
        for (of, written) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (9_812, "9,812"),
            (999_999, "999,999"),
            (12_345_678, "12.3 M"),
            (u64::MAX, "> 999 M"),
        ] {
            assert_eq!(number(of), written);
        }
    }

    #[test]
    fn small_parts_do_not_disappear() {
        assert_eq!((share(1, 100_000), width(1, 100_000)), ("< 0.1 %".into(), "1.00%".into()));
        assert_eq!(share(99_999, 100_000), "> 99.9 %");
        assert_eq!((share(0, 0), width(0, 0)), ("0.0 %".into(), "0.00%".into()));
        assert_eq!(share(5, 5), "100.0 %");
    }
}
