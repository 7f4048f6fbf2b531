//! What a sweep of a registry came to: one notice for all its images.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::render::Rendered;
use crate::config::NoticeFormat;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::image::{Home, RepositoryName};
use crate::domain::policy::Mode;

/// Repositories that a summary names.
const WORST: usize = 10;

/// What was found in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub repository: RepositoryName,
    /// Where its images stand.
    pub census: Census,
}

impl Share {
    fn violating(&self) -> u64 {
        self.census.sum(Coverage::violates)
    }

    fn gaps(&self) -> u64 {
        self.census.sum(Coverage::is_gap)
    }

    /// The ten with most images that violate the policy, then with most of which nobody knows.
    #[must_use]
    pub fn worst(mut shares: Vec<Self>) -> Vec<Self> {
        shares.retain(|share| share.violating() + share.gaps() > 0);
        shares.sort_by_key(|share| {
            (Reverse((share.violating(), share.gaps())), share.repository.to_string())
        });
        shares.truncate(WORST);
        shares
    }
}

/// What a sweep came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The sweep's id.
    pub sweep: String,
    /// The registry.
    pub home: Home,
    /// When it began, as its first message says.
    pub began: Option<String>,
    /// How many repositories have answered.
    pub swept: usize,
    /// How many the policy covers.
    pub repositories: usize,
    /// Where the images stand.
    pub census: Census,
    /// The same of the sweep before, as far as this task knows it.
    pub before: Option<Census>,
    /// The policy's mode.
    pub mode: Mode,
    /// The worst repositories, the worst first.
    pub worst: Vec<Share>,
    /// Repositories that hold more images than a sweep looks at.
    pub cut: BTreeSet<RepositoryName>,
    /// Whether these are results that came after the summary of their sweep, or too few for one.
    pub is_late: bool,
}

impl Summary {
    /// The same at every telling: whoever tells other numbers tells them under another id.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update(part.as_bytes());
            hash.update([0]);
        };
        for part in [self.home.account.as_str(), self.home.region.as_str(), &self.sweep] {
            add(part);
        }
        add(self.began.as_deref().unwrap_or_default());
        add(&format!("{} of {}, late {}", self.swept, self.repositories, self.is_late));
        for (coverage, images) in self.census.iter() {
            add(&format!("{} {images}", coverage.as_str()));
        }
        self.cut.iter().for_each(|repository| add(repository.as_str()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn violating(&self) -> u64 {
        self.census.sum(Coverage::violates)
    }

    fn gaps(&self) -> u64 {
        self.census.sum(Coverage::is_gap)
    }

    fn subject(&self) -> String {
        let Home { account, region } = &self.home;
        let late = if self.is_late { ", late" } else { "" };
        let subject = format!(
            "tagwarden sweep{late}: {} violating, {} not covered in {account} {region}",
            self.violating(),
            self.gaps()
        );
        subject.chars().take(99).collect()
    }

    /// Whether all repositories have answered.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.swept >= self.repositories
    }

    /// The lines of the summary: how many stand where, and how that changed.
    fn lines(&self) -> Vec<String> {
        let changed = |coverage: Coverage| match &self.before {
            Some(before) => match self.census.of(coverage).cmp(&before.of(coverage)) {
                std::cmp::Ordering::Equal => String::new(),
                _ => format!(" (was {})", before.of(coverage)),
            },
            None => String::new(),
        };
        let stands = |coverage: &Coverage| {
            let before = self.before.as_ref().map_or(0, |before| before.of(*coverage));
            self.census.of(*coverage) + before > 0
        };
        let line = |coverage: Coverage| {
            format!("{:>7}  {}{}", self.census.of(coverage), meaning(coverage), changed(coverage))
        };
        Coverage::ALL.into_iter().filter(stands).map(line).collect()
    }

    /// In one of its forms.
    #[must_use]
    pub fn render(&self, format: NoticeFormat) -> Rendered {
        Rendered {
            subject: self.subject(),
            body: match format {
                NoticeFormat::Text => self.text(),
                NoticeFormat::Json => self.document().to_string(),
                NoticeFormat::Chat => self.chat().to_string(),
            },
            attributes: BTreeMap::from([
                ("action", "swept".to_owned()),
                ("account", self.home.account.to_string()),
                ("region", self.home.region.to_string()),
            ]),
        }
    }

    fn headline(&self) -> String {
        let images = self.census.sum(|_| true);
        let (violating, gaps) = (self.violating(), self.gaps());
        let whole = if self.is_late {
            let sweep = &self.sweep;
            format!(
                " These results came late: if a summary of sweep {sweep} was told, they add to it or stand in it already, \
                 and what it says of other repositories stays as it is."
            )
        } else if self.is_whole() {
            String::new()
        } else {
            let missing = self.repositories - self.swept;
            format!(
                " {missing} repositories have not answered: their messages failed, and the log says why."
            )
        };
        let nothing = if violating == 0 && self.before.as_ref() == Some(&self.census) {
            " Nothing has changed since the sweep before."
        } else {
            ""
        };
        format!(
            "{images} tagged images in {} of {} repositories were looked at: {violating} violate the policy, \
             {gaps} are not covered by any scan.{nothing}{whole}{}",
            self.swept,
            self.repositories,
            self.of_cut()
        )
    }

    /// What is said of repositories that were not looked at to their end.
    fn of_cut(&self) -> String {
        let named: Vec<_> = self.cut.iter().take(WORST).map(RepositoryName::as_str).collect();
        match self.cut.len().checked_sub(named.len()) {
            _ if named.is_empty() => String::new(),
            None | Some(0) => {
                format!(" Not to their end, for they hold too many images: {}.", named.join(", "))
            }
            Some(more) => format!(
                " Not to their end, for they hold too many images: {}, and {more} more.",
                named.join(", ")
            ),
        }
    }

    fn text(&self) -> String {
        let Home { account, region } = &self.home;
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
        let _ = writeln!(out, "\nSweep {}, notice {}", self.sweep, self.id());
        out
    }

    fn document(&self) -> Value {
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
            "account": self.home.account.as_str(),
            "region": self.home.region.as_str(),
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

    fn chat(&self) -> Value {
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
        let icon = if self.violating() + self.gaps() == 0 { ":white_check_mark:" } else { ":mag:" };
        json!({
            "version": "1.0",
            "source": "custom",
            "id": self.id(),
            "content": {
                "textType": "client-markdown",
                "title": format!("{icon} Sweep of {} {}", self.home.account, self.home.region),
                "description": text,
                "keywords": ["swept"],
            },
            "metadata": {
                "threadId": format!("sweep {} {}", self.home.account, self.home.region),
                "summary": self.subject(),
                "eventType": "swept",
            },
        })
    }
}

fn meaning(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Clean => "within the policy",
        Coverage::Untag => "violate the policy: their tags go, each with a notice of its own",
        Coverage::WouldUntag => {
            "violate the policy: their tags would go, were it not for audit mode"
        }
        Coverage::Blocked => {
            "violate the policy and keep their tags (protected, in use, or too few others)"
        }
        Coverage::PullThrough => "violate the policy in a pull-through cache",
        Coverage::Quarantined => "quarantined",
        Coverage::NeverScanned => "never scanned",
        Coverage::Scanning => "being scanned or restored",
        Coverage::ScanFailed => "whose scan failed",
        Coverage::Unsupported => "that the scanner does not support",
        Coverage::SizeExceeded => "larger than the scanner takes",
        Coverage::Expired => "that enhanced scanning looks at no longer",
        Coverage::Unavailable => "without findings for another reason",
        Coverage::Archived => "archived",
        Coverage::IndexOnly => "indexes that cannot be judged, or not as a whole",
        Coverage::NotAnImage => "charts, signatures and other artifacts",
        Coverage::Failed => "that could not be looked at",
    }
}

#[cfg(test)]
mod tests;
