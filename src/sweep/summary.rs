//! The summary of a sweep of one registry: one notice for all of its images.
//!
//! Any task may make the summary, and two tasks may make one when a task dies between sending it
//! and saying so. So the id of a summary is made from its numbers: the same numbers always have the
//! same id, and other numbers have another one. The previous numbers are not part of the id,
//! because they are known only to the task that sent the previous summary, and to none after a
//! restart.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{RegistryId, RepositoryName};
use crate::domain::policy::Mode;
use crate::notify::id_of;
use crate::notify::render::Announcement;

/// The maximum number of repositories that a summary names.
const WORST: usize = 10;
/// The words before the names of repositories that were cut.
const PARTLY: &str =
    "These repositories were inspected only in part, because they hold too many images:";

/// The result of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) repository: RepositoryName,
    /// The number of its images in each state.
    pub(super) census: Census,
}

impl Share {
    fn violating(&self) -> u64 {
        self.census.sum(Coverage::violates)
    }

    fn gaps(&self) -> u64 {
        self.census.sum(Coverage::is_gap)
    }

    /// Returns the ten repositories with the most images that violate the policy, then with the
    /// most images that no scan covers.
    #[must_use]
    pub(super) fn worst(mut shares: Vec<Self>) -> Vec<Self> {
        shares.retain(|share| share.violating() + share.gaps() > 0);
        shares.sort_by_key(|share| {
            (Reverse((share.violating(), share.gaps())), share.repository.to_string())
        });
        shares.truncate(WORST);
        shares
    }
}

/// The result of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// The id of the sweep.
    pub(super) sweep: String,
    /// The registry.
    pub(super) registry_id: RegistryId,
    /// The time at which it began, as its first message says.
    pub(super) began: Option<String>,
    /// The number of repositories that have answered.
    pub(super) swept: usize,
    /// The number of repositories that the policy covers.
    pub(super) repositories: usize,
    /// The number of images in each state.
    pub(super) census: Census,
    /// The counts of the previous sweep, if this task knows them.
    pub(super) before: Option<Census>,
    /// The mode of the policy.
    pub(super) mode: Mode,
    /// The worst repositories, the worst first.
    pub(super) worst: Vec<Share>,
    /// The repositories that hold more images than a sweep inspects.
    pub(super) cut: BTreeSet<RepositoryName>,
    /// Whether these results came after the summary of their sweep, or are too few for a summary.
    pub(super) is_late: bool,
}

impl Summary {
    fn violating(&self) -> u64 {
        self.census.sum(Coverage::violates)
    }

    fn gaps(&self) -> u64 {
        self.census.sum(Coverage::is_gap)
    }

    /// Returns whether all repositories have answered.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.swept >= self.repositories
    }

    /// Returns one line for each state: the number of images, and the previous number if it was
    /// different.
    fn lines(&self) -> Vec<String> {
        let changed = |coverage: Coverage| match &self.before {
            Some(before) => match self.census.of(coverage).cmp(&before.of(coverage)) {
                std::cmp::Ordering::Equal => String::new(),
                _ => format!(" (was {})", before.of(coverage)),
            },
            None => String::new(),
        };
        let is_shown = |coverage: &Coverage| {
            let before = self.before.as_ref().map_or(0, |before| before.of(*coverage));
            self.census.of(*coverage) + before > 0
        };
        let line = |coverage: Coverage| {
            format!("{:>7}  {}{}", self.census.of(coverage), meaning(coverage), changed(coverage))
        };
        Coverage::ALL.into_iter().filter(is_shown).map(line).collect()
    }

    fn headline(&self) -> String {
        let images = self.census.sum(|_| true);
        let (violating, gaps) = (self.violating(), self.gaps());
        let whole = if self.is_late {
            let sweep = &self.sweep;
            format!(
                " These results came late: if a summary of sweep {sweep} was sent, they add to it \
                 or are in it already, and its numbers for other repositories remain valid."
            )
        } else if self.is_whole() {
            String::new()
        } else {
            let missing = self.repositories - self.swept;
            format!(
                " {missing} repositories have not answered: their messages failed, and the log \
                 says why."
            )
        };
        let nothing = if violating == 0 && self.before.as_ref() == Some(&self.census) {
            " Nothing has changed since the previous sweep."
        } else {
            ""
        };
        format!(
            "{images} tagged images in {} of {} repositories were inspected: {violating} violate \
             the policy, {gaps} are not covered by any scan.{nothing}{whole}{}",
            self.swept,
            self.repositories,
            self.cut_sentence()
        )
    }

    /// Returns the sentence about repositories that were inspected only in part.
    fn cut_sentence(&self) -> String {
        let named: Vec<_> = self.cut.iter().take(WORST).map(RepositoryName::as_str).collect();
        match self.cut.len().checked_sub(named.len()) {
            _ if named.is_empty() => String::new(),
            None | Some(0) => {
                format!(" {PARTLY} {}.", named.join(", "))
            }
            Some(more) => format!(" {PARTLY} {}, and {more} more.", named.join(", ")),
        }
    }
}

impl Announcement for Summary {
    const ACTION: &'static str = "swept";
    const THREAD: &'static str = "sweep";

    /// Always the same for the same numbers, and another for others.
    fn id(&self) -> String {
        let Self { registry_id, sweep, swept, repositories, is_late, .. } = self;
        let mut parts = vec![
            registry_id.account.to_string(),
            registry_id.region.to_string(),
            sweep.clone(),
            self.began.clone().unwrap_or_default(),
            format!("{swept} of {repositories}, late {is_late}"),
        ];
        let counts = self.census.iter();
        parts.extend(counts.map(|(coverage, images)| format!("{} {images}", coverage.as_str())));
        parts.extend(self.cut.iter().map(ToString::to_string));
        id_of(parts)
    }

    fn registry_id(&self) -> &RegistryId {
        &self.registry_id
    }

    fn subject(&self) -> String {
        let RegistryId { account, region } = &self.registry_id;
        let late = if self.is_late { " (late)" } else { "" };
        let verb = if self.violating() == 1 { "violates" } else { "violate" };
        let subject = format!(
            "Images in {account} {region}{late}: {} {verb} the vulnerability policy, {} not scanned",
            self.violating(),
            self.gaps()
        );
        subject.chars().take(99).collect()
    }

    fn text(&self, contact: Option<&str>) -> String {
        let RegistryId { account, region } = &self.registry_id;
        let mut out = format!("{}\n\nRegistry: {account}, {region}\n", self.headline());
        if let Some(began) = &self.began {
            let _ = writeln!(out, "Began: {began}");
        }
        let _ = writeln!(out, "Mode: {}\n\nImages:", self.mode.as_str());
        for line in self.lines() {
            let _ = writeln!(out, "{line}");
        }
        if !self.worst.is_empty() {
            let _ = writeln!(out, "\nWorst repositories (violating, not covered):");
        }
        for share in &self.worst {
            let (violating, gaps) = (share.violating(), share.gaps());
            let _ = writeln!(out, "{violating:>7} {gaps:>7}  {}", share.repository);
        }
        if let Some(contact) = contact {
            let _ = writeln!(out, "\nAsk: {contact}");
        }
        let _ = writeln!(out, "\nSweep {}, notice {}", self.sweep, self.id());
        out
    }

    fn document(&self, contact: Option<&str>) -> Value {
        let counts = |census: &Census| -> Map<String, Value> {
            let all = Coverage::ALL.into_iter();
            all.map(|of| (of.as_str().to_owned(), census.of(of).into())).collect()
        };
        json!({
            "schema": "tagwarden.sweep/1",
            "id": self.id(),
            "sweep": self.sweep,
            "began": self.began,
            "mode": self.mode.as_str(),
            "contact": contact,
            "account": self.registry_id.account.as_str(),
            "region": self.registry_id.region.as_str(),
            "repositories": {"covered": self.repositories, "swept": self.swept},
            "adds_to": self.is_late.then_some(&self.sweep),
            "cut": self.cut.iter().take(WORST).map(RepositoryName::as_str).collect::<Vec<_>>(),
            "images": counts(&self.census),
            "before": self.before.as_ref().map(counts),
            "worst": self.worst.iter().map(|share| json!({
                "repository": share.repository.as_str(),
                "violating": share.violating(),
                "not_covered": share.gaps(),
                "images": counts(&share.census),
            })).collect::<Vec<_>>(),
        })
    }

    fn title(&self) -> String {
        let RegistryId { account, region } = &self.registry_id;
        let icon = if self.violating() + self.gaps() == 0 { ":white_check_mark:" } else { ":mag:" };
        format!("{icon} Sweep of {account} {region}")
    }

    fn description(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for line in self.lines() {
            let _ = writeln!(text, "• {}", line.trim_start());
        }
        if !self.worst.is_empty() {
            let _ = writeln!(text, "*Worst repositories:*");
        }
        for share in &self.worst {
            let name: String = share.repository.as_str().chars().take(80).collect();
            let _ = writeln!(
                text,
                "• `{name}`: {} violating, {} not covered",
                share.violating(),
                share.gaps()
            );
        }
        text
    }
}

fn meaning(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Clean => "within the policy",
        Coverage::Untag => {
            "violate the policy: their tags are removed, with a notice for each image"
        }
        Coverage::WouldUntag => {
            "violate the policy: their tags would be removed, but the policy is in audit mode"
        }
        Coverage::Blocked => {
            "violate the policy and keep their tags (protected, in use, or too few others)"
        }
        Coverage::Held => "violate the policy and keep their tags until a hold ends",
        Coverage::PullThrough => "violate the policy in a pull-through cache",
        Coverage::Quarantined => "quarantined",
        Coverage::NeverScanned => "never scanned",
        Coverage::Scanning => "being scanned or restored",
        Coverage::ScanFailed => "with a failed scan",
        Coverage::Unsupported => "not supported by the scanner",
        Coverage::SizeExceeded => "too large for the scanner",
        Coverage::Expired => "no longer scanned by enhanced scanning",
        Coverage::Unavailable => "without findings for another reason",
        Coverage::Archived => "archived",
        Coverage::IndexOnly => "indexes that cannot be judged completely",
        Coverage::NotAnImage => "charts, signatures and other artifacts",
        Coverage::Failed => "not inspected because of an error",
    }
}

#[cfg(test)]
mod tests;
