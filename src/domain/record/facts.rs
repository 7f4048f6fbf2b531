//! The facts of each kind of record.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::domain::findings::{Finding, SeverityCounts, one_line};
use crate::domain::names::{Digest, Tag};

/// The most tags of each kind that a record names. An image has no more (ECR service quotas).
pub const MAX_TAGS: usize = 1_000;
/// The most records that an outcome closes.
pub const MAX_CLOSED: usize = 1_000;
/// The most reasons that a record names.
pub const MAX_REASONS: usize = 20;
/// The most findings that a record names, worst first.
pub const MAX_FINDINGS: usize = 20;
/// The most characters of a reason, of a person or of the policy, in a record.
pub const LONGEST_REASON: usize = 256;
/// The most characters of a name in a record: of an owner, a request, an event or a rule.
pub const LONGEST_NAME: usize = 128;

/// Returns whether a text can be a reason or the name of an owner: dots, such as those of an
/// example that was pasted as it is, tell nobody anything.
#[must_use]
pub fn says_something(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// The kind of a record, as its annotation writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RecordKind {
    /// A [`Quarantined`].
    Quarantine,
    /// A [`Closing`].
    Outcome,
    /// A [`Hold`].
    Hold,
    /// A [`Withdrawal`].
    Withdrawal,
    /// A [`Notification`].
    Notification,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Tags are about to be removed.
    Quarantine(Box<Quarantined>),
    /// What became of removed tags, or the answer to a request.
    Outcome(Closing),
    /// The image is left alone until a time.
    Hold(Hold),
    /// A hold ends early.
    Withdrawal(Withdrawal),
    /// The team knows what became of a request.
    Notification(Notification),
}

impl Record {
    /// Returns the kind of the record.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Quarantine(_) => RecordKind::Quarantine,
            Self::Outcome(_) => RecordKind::Outcome,
            Self::Hold(_) => RecordKind::Hold,
            Self::Withdrawal(_) => RecordKind::Withdrawal,
            Self::Notification(_) => RecordKind::Notification,
        }
    }
}

/// Tags are about to be removed: everything that a person needs to know of it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// All tags that the plan removes.
    pub tags: BTreeSet<Tag>,
    /// Whether the image is to be deleted after them.
    pub delete: bool,
    /// The rule of the policy that judged.
    pub rule: String,
    /// Why the image violates the policy, in words.
    pub reasons: Vec<String>,
    /// The number of findings by severity.
    pub counts: SeverityCounts,
    /// The worst findings that count, at most [`MAX_FINDINGS`].
    pub findings: Vec<RecordedFinding>,
    /// The image that causes the violation, and its platform, if the subject is an index.
    pub cause: Option<Digest>,
    /// The platform of the cause, if the index names it.
    pub platform: Option<String>,
    /// The id of the event, or of the message if the event has none.
    pub event: String,
    /// The time of the event, as the event writes it.
    pub event_time: Option<String>,
    /// The id of the notice about the removal.
    pub notice: String,
    /// The fingerprint of the policy.
    pub policy: String,
    /// The number of outcomes that the image had when the record was written. It makes the bytes of
    /// a record that follows a restore differ from those of the record that the restore closed.
    pub after_outcomes: u64,
}

/// A finding as a record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFinding {
    /// The id, mostly a CVE id.
    pub id: String,
    /// AWS's word for the severity.
    pub severity: String,
    /// The package, if the scanner names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version of the package in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// The version that fixes the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

impl RecordedFinding {
    /// Returns what a record says about a finding: its first package, in short texts.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let package = finding.packages.first();
        let short = |text: &String| one_line(text).chars().take(LONGEST_NAME).collect();
        Self {
            id: short(&finding.id),
            severity: finding.severity.as_word().to_owned(),
            package: package.map(|package| short(&package.name)),
            installed: package.and_then(|package| package.installed.as_ref()).map(short),
            fixed: package.and_then(|package| package.fixed.as_ref()).map(short),
        }
    }
}

/// What became of removed tags. It closes each tag that it names but those of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// The request that asked for it and that it answers; `None` if a removal found that the tags
    /// had moved, and if it is only a part.
    pub request: Option<String>,
    /// The request that broke off after it had given these tags back. It is answered by another
    /// outcome, when its message has come again.
    pub part_of: Option<String>,
    /// Who sent the request, as SQS names the sender.
    pub sender: Option<String>,
    /// The ids of the records that it closes.
    pub closes: BTreeSet<Digest>,
    /// Tags that were given back.
    pub restored: BTreeSet<Tag>,
    /// Tags that the image had before, or that a delivery of the request which was killed midway
    /// gave back.
    pub present: BTreeSet<Tag>,
    /// Tags that another image has now. They were left alone.
    pub superseded: BTreeSet<Tag>,
    /// Why the request was refused. Its tags stay open.
    pub refused: Option<Refusal>,
}

impl Closing {
    /// Returns whether it closes this tag.
    #[must_use]
    pub fn closes(&self, tag: &Tag) -> bool {
        [&self.restored, &self.present, &self.superseded].iter().any(|tags| tags.contains(tag))
    }
}

/// Why a request was refused, in words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// A dated promise to leave an image alone although it violates the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// From this time on the image is judged like any other.
    pub until: SystemTime,
    /// When the hold was granted, by the worker's clock.
    pub issued: SystemTime,
    /// Why the image is needed.
    pub reason: String,
    /// Who answers for it, as the sender wrote it.
    pub owner: String,
    /// The request that asked for it.
    pub request: String,
    /// Who sent the request, as SQS names the sender.
    pub sender: String,
}

/// The early end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The request of the hold that ends. That hold never counts again.
    pub withdraws: String,
    /// The request that asked for the withdrawal.
    pub request: String,
    /// Who sent the request, as SQS names the sender.
    pub sender: String,
}

/// The team was notified of what became of a request, and the image is looked at once more a while
/// later. Only this tells the task that looks what the task before it has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The request.
    pub request: String,
    /// The ids of the outcomes that the team was notified of.
    pub outcomes: BTreeSet<Digest>,
    /// When the team was notified, by the worker's clock. The second look is due a while later.
    pub at: SystemTime,
}
