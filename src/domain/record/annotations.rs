//! Records as annotations, and back. The names of annotations are part of the format: they change
//! only with the artifact type.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::facts::{
    Closing, Hold, LONGEST_NAME, LONGEST_REASON, MAX_CLOSED, MAX_FINDINGS, MAX_REASONS, MAX_TAGS,
    Notification, Quarantined, Record, RecordKind, RecordedFinding, Refusal, Withdrawal,
};
use super::id::MAC;
use super::keys::KEY;
use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::names::{Digest, Tag};

/// Why an artifact is not a record that this version can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// An annotation that every record of the kind has is missing.
    #[error("the annotation {0} is missing")]
    Missing(&'static str),
    /// An annotation has no valid value.
    #[error("the annotation {0} is not valid")]
    Invalid(&'static str),
    /// There are annotations that the kind does not have.
    #[error("it has annotations that no such record has")]
    Unknown,
    /// There is no signature, or none that holds.
    #[error("its signature does not hold here")]
    NotSigned,
}

const KIND: &str = "tagwarden.kind";
const TAGS: &str = "tagwarden.tags";
const ACTION: &str = "tagwarden.action";
const RULE: &str = "tagwarden.rule";
const REASONS: &str = "tagwarden.reasons";
const COUNTS: &str = "tagwarden.counts";
const FINDINGS: &str = "tagwarden.findings";
const CAUSE: &str = "tagwarden.cause";
const PLATFORM: &str = "tagwarden.platform";
const EVENT: &str = "tagwarden.event";
const EVENT_TIME: &str = "tagwarden.event-time";
const NOTICE: &str = "tagwarden.notice";
const POLICY: &str = "tagwarden.policy";
const AFTER_OUTCOMES: &str = "tagwarden.after-outcomes";
const PART_OF: &str = "tagwarden.part-of";
const REQUEST: &str = "tagwarden.request";
const SENDER: &str = "tagwarden.sender";
const CLOSES: &str = "tagwarden.closes";
const RESTORED: &str = "tagwarden.restored";
const PRESENT: &str = "tagwarden.present";
const SUPERSEDED: &str = "tagwarden.superseded";
const REFUSED: &str = "tagwarden.refused";
const UNTIL: &str = "tagwarden.until";
const ISSUED: &str = "tagwarden.issued";
const REASON: &str = "tagwarden.reason";
const OWNER: &str = "tagwarden.owner";
const WITHDRAWS: &str = "tagwarden.withdraws";
const OUTCOMES: &str = "tagwarden.outcomes";
const AT: &str = "tagwarden.at";

/// The most bytes of a list in a record. A thousand of the longest tags take fewer.
const LONGEST_LIST: usize = 320_000;

const QUARANTINE: &str = "quarantine";
const DELETE: &str = "delete";

impl Record {
    /// Returns the annotations that say what the record says. The same record always has the same
    /// annotations.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut fields = Fields::default();
        fields.text(KIND, <&str>::from(self.kind()));
        match self {
            Self::Quarantine(record) => record.write(&mut fields),
            Self::Outcome(record) => record.write(&mut fields),
            Self::Hold(record) => record.write(&mut fields),
            Self::Withdrawal(record) => record.write(&mut fields),
            Self::Notification(record) => record.write(&mut fields),
        }
        fields.0
    }

    /// Reads a record from annotations. The signature is left to
    /// [`RestoreKeys`](super::RestoreKeys).
    ///
    /// # Errors
    /// [`InvalidRecord`] if the annotations are not those of a record.
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Self, InvalidRecord> {
        let mut fields = Fields(annotations.clone());
        fields.0.remove(KEY);
        fields.0.remove(MAC);
        let kind = fields.required(KIND)?;
        let kind = RecordKind::from_str(&kind).map_err(|_| InvalidRecord::Invalid(KIND))?;
        let record = match kind {
            RecordKind::Quarantine => Self::Quarantine(Box::new(Quarantined::read(&mut fields)?)),
            RecordKind::Outcome => Self::Outcome(Closing::read(&mut fields)?),
            RecordKind::Hold => Self::Hold(Hold::read(&mut fields)?),
            RecordKind::Withdrawal => Self::Withdrawal(Withdrawal::read(&mut fields)?),
            RecordKind::Notification => Self::Notification(Notification::read(&mut fields)?),
        };
        if fields.0.is_empty() { Ok(record) } else { Err(InvalidRecord::Unknown) }
    }
}

impl Quarantined {
    fn write(&self, fields: &mut Fields) {
        fields.json(TAGS, &texts(&self.tags, Tag::as_str, MAX_TAGS));
        fields.text(ACTION, if self.delete { DELETE } else { QUARANTINE });
        fields.short(RULE, &self.rule, LONGEST_NAME);
        fields.json(REASONS, &self.recorded_reasons());
        let counts = Severity::ALL.into_iter();
        let counts = counts.filter_map(|of| Some((of.as_key(), self.counts.reported(of)?)));
        fields.json(COUNTS, &counts.collect::<BTreeMap<_, _>>());
        fields.json(FINDINGS, &self.findings.iter().take(MAX_FINDINGS).collect::<Vec<_>>());
        fields.optional(CAUSE, self.cause.as_ref().map(Digest::as_str));
        fields.optional(PLATFORM, self.platform.as_deref());
        fields.short(EVENT, &self.event, LONGEST_NAME);
        fields.optional(EVENT_TIME, self.event_time.as_deref());
        fields.text(NOTICE, &self.notice);
        fields.text(POLICY, &self.policy);
        if self.after_outcomes > 0 {
            fields.text(AFTER_OUTCOMES, &self.after_outcomes.to_string());
        }
    }

    /// Returns whether another record is of the same removal: it has the same event, or the same
    /// rule of the same policy removes tags for the same reasons.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let name = |text: &String| cut(text, LONGEST_NAME);
        let cause = |of: &Self| (name(&of.rule), of.policy.clone(), of.recorded_reasons());
        name(&self.event) == name(&other.event) || cause(self) == cause(other)
    }

    /// Returns the reasons as the record writes them.
    fn recorded_reasons(&self) -> Vec<String> {
        let reasons = self.reasons.iter().take(MAX_REASONS);
        reasons.map(|text| cut(text, LONGEST_REASON)).collect()
    }

    fn read(fields: &mut Fields) -> Result<Self, InvalidRecord> {
        let action = fields.required(ACTION)?;
        if ![QUARANTINE, DELETE].contains(&action.as_str()) {
            return Err(InvalidRecord::Invalid(ACTION));
        }
        let mut counts = SeverityCounts::default();
        for (word, count) in fields.parsed::<BTreeMap<String, u64>>(COUNTS)? {
            let severity = Severity::ALL.into_iter().find(|of| of.as_key() == word);
            counts.add(severity.ok_or(InvalidRecord::Invalid(COUNTS))?, count);
        }
        let after_outcomes = match fields.taken(AFTER_OUTCOMES)? {
            Some(text) => text.parse().map_err(|_| InvalidRecord::Invalid(AFTER_OUTCOMES))?,
            None => 0,
        };
        let cause = fields.taken(CAUSE)?.map(Digest::parse).transpose();
        Ok(Self {
            tags: fields.names(TAGS, MAX_TAGS, Tag::parse)?,
            delete: action == DELETE,
            rule: fields.required(RULE)?,
            reasons: fields
                .list(REASONS, MAX_REASONS, |text: &String| is_short(text, LONGEST_REASON))?,
            counts,
            findings: fields.list(FINDINGS, MAX_FINDINGS, is_recorded)?,
            cause: cause.map_err(|_| InvalidRecord::Invalid(CAUSE))?,
            platform: fields.taken(PLATFORM)?,
            event: fields.required(EVENT)?,
            event_time: fields.taken(EVENT_TIME)?,
            notice: fields.required(NOTICE)?,
            policy: fields.required(POLICY)?,
            after_outcomes,
        })
    }
}

impl Closing {
    fn write(&self, fields: &mut Fields) {
        fields.optional(REQUEST, self.request.as_deref());
        fields.optional(PART_OF, self.part_of.as_deref());
        fields.optional(SENDER, self.sender.as_deref());
        fields.json(CLOSES, &texts(&self.closes, Digest::as_str, MAX_CLOSED));
        fields.json(RESTORED, &texts(&self.restored, Tag::as_str, MAX_TAGS));
        fields.json(PRESENT, &texts(&self.present, Tag::as_str, MAX_TAGS));
        fields.json(SUPERSEDED, &texts(&self.superseded, Tag::as_str, MAX_TAGS));
        if let Some(Refusal(why)) = &self.refused {
            fields.short(REFUSED, why, LONGEST_REASON);
        }
    }

    fn read(fields: &mut Fields) -> Result<Self, InvalidRecord> {
        Ok(Self {
            request: fields.taken(REQUEST)?,
            part_of: fields.taken(PART_OF)?,
            sender: fields.taken(SENDER)?,
            closes: fields.names(CLOSES, MAX_CLOSED, Digest::parse)?,
            restored: fields.names(RESTORED, MAX_TAGS, Tag::parse)?,
            present: fields.names(PRESENT, MAX_TAGS, Tag::parse)?,
            superseded: fields.names(SUPERSEDED, MAX_TAGS, Tag::parse)?,
            refused: fields.taken(REFUSED)?.map(Refusal),
        })
    }
}

impl Hold {
    fn write(&self, fields: &mut Fields) {
        fields.time(UNTIL, self.until);
        fields.time(ISSUED, self.issued);
        fields.short(REASON, &self.reason, LONGEST_REASON);
        fields.short(OWNER, &self.owner, LONGEST_NAME);
        fields.text(REQUEST, &self.request);
        fields.text(SENDER, &self.sender);
    }

    fn read(fields: &mut Fields) -> Result<Self, InvalidRecord> {
        Ok(Self {
            until: fields.required_time(UNTIL)?,
            issued: fields.required_time(ISSUED)?,
            reason: fields.required(REASON)?,
            owner: fields.required(OWNER)?,
            request: fields.required(REQUEST)?,
            sender: fields.required(SENDER)?,
        })
    }
}

impl Withdrawal {
    fn write(&self, fields: &mut Fields) {
        fields.text(WITHDRAWS, &self.withdraws);
        fields.text(REQUEST, &self.request);
        fields.text(SENDER, &self.sender);
    }

    fn read(fields: &mut Fields) -> Result<Self, InvalidRecord> {
        Ok(Self {
            withdraws: fields.required(WITHDRAWS)?,
            request: fields.required(REQUEST)?,
            sender: fields.required(SENDER)?,
        })
    }
}

impl Notification {
    fn write(&self, fields: &mut Fields) {
        fields.text(REQUEST, &self.request);
        fields.json(OUTCOMES, &texts(&self.outcomes, Digest::as_str, MAX_CLOSED));
        fields.time(AT, self.at);
    }

    fn read(fields: &mut Fields) -> Result<Self, InvalidRecord> {
        Ok(Self {
            request: fields.required(REQUEST)?,
            outcomes: fields.names(OUTCOMES, MAX_CLOSED, Digest::parse)?,
            at: fields.required_time(AT)?,
        })
    }
}

/// The annotations that are left to read, or written so far.
#[derive(Debug, Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn text(&mut self, name: &'static str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    fn short(&mut self, name: &'static str, value: &str, most: usize) {
        self.text(name, &cut(value, most));
    }

    fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.short(name, value, LONGEST_NAME);
        }
    }

    fn json(&mut self, name: &'static str, value: &impl Serialize) {
        self.text(name, &serde_json::to_string(value).unwrap_or_default());
    }

    fn time(&mut self, name: &'static str, at: SystemTime) {
        self.text(name, &humantime::format_rfc3339_seconds(at).to_string());
    }

    /// Returns a text, if there is one. No text of ours is longer than a reason.
    fn taken(&mut self, name: &'static str) -> Result<Option<String>, InvalidRecord> {
        match self.0.remove(name) {
            Some(text) if !is_short(&text, LONGEST_REASON) => Err(InvalidRecord::Invalid(name)),
            text => Ok(text),
        }
    }

    fn required(&mut self, name: &'static str) -> Result<String, InvalidRecord> {
        self.taken(name)?.ok_or(InvalidRecord::Missing(name))
    }

    fn parsed<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, InvalidRecord> {
        let text = self.0.remove(name).ok_or(InvalidRecord::Missing(name))?;
        let text = Some(text).filter(|text| text.len() <= LONGEST_LIST);
        let parsed = text.and_then(|text| serde_json::from_str(&text).ok());
        parsed.ok_or(InvalidRecord::Invalid(name))
    }

    /// Returns a list of at most `most` entries that are all valid.
    fn list<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        most: usize,
        is_valid: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>, InvalidRecord> {
        let list: Vec<T> = self.parsed(name)?;
        let is_valid = list.len() <= most && list.iter().all(is_valid);
        if is_valid { Ok(list) } else { Err(InvalidRecord::Invalid(name)) }
    }

    fn required_time(&mut self, name: &'static str) -> Result<SystemTime, InvalidRecord> {
        let text = self.required(name)?;
        humantime::parse_rfc3339(&text).map_err(|_| InvalidRecord::Invalid(name))
    }

    fn names<T: Ord, E>(
        &mut self,
        name: &'static str,
        most: usize,
        parse: impl Fn(String) -> Result<T, E>,
    ) -> Result<BTreeSet<T>, InvalidRecord> {
        let names: Vec<String> = self.list(name, most, |_| true)?;
        let all = names.len();
        let names: Result<BTreeSet<_>, _> = names.into_iter().map(parse).collect();
        names.ok().filter(|names| names.len() == all).ok_or(InvalidRecord::Invalid(name))
    }
}

fn texts<'a, T>(names: &'a BTreeSet<T>, text: fn(&'a T) -> &'a str, most: usize) -> Vec<&'a str> {
    names.iter().take(most).map(text).collect()
}

/// Returns whether a finding has only texts as a record of ours has them.
fn is_recorded(finding: &RecordedFinding) -> bool {
    let RecordedFinding { id, severity, package, installed, fixed } = finding;
    let texts = [Some(id), Some(severity), package.as_ref(), installed.as_ref(), fixed.as_ref()];
    texts.into_iter().flatten().all(|text| is_short(text, LONGEST_NAME))
}

fn is_short(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_none()
}

fn cut(text: &str, most: usize) -> String {
    crate::domain::text::start(text, most)
}
