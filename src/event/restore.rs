//! The message that asks to give tags back to an image, to hold it, or to end a hold.
//!
//! A person sends it to the worker's queue by `tagwarden restore`. It names one image. Nothing in
//! it is trusted: who may ask is decided by the sender that SQS names, what may be given back by
//! the records on the image, and when it was sent by the queue's clock. It counts only as the plain
//! body of a message, because what passes through a topic or a bus has lost its sender.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::sweep::SOURCE;
use super::{MAX_TAGS, Malformed, Parsed};
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, RegistryId, Repository, RepositoryName, Tag,
};
use crate::domain::record::{LONGEST_NAME, LONGEST_REASON, says_something};
use crate::domain::text::is_unseen;

/// The `detail-type` of the message.
pub const RESTORE: &str = "Restore Image";

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOrder {
    /// The id of the request, by which its outcome is found; `None` if it is the message's.
    pub request: Option<String>,
    /// The repository of the image.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
    /// What to do.
    pub action: RestoreAction,
}

/// What to do with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreAction {
    /// Give tags back if the image is within the policy.
    GiveBack {
        /// Only these of its removed tags; `None` for all of them.
        tags: Option<BTreeSet<Tag>>,
    },
    /// Give tags back, and leave the image alone until a time.
    Hold {
        /// Only these of its removed tags; `None` for all of them.
        tags: Option<BTreeSet<Tag>>,
        /// The end of the hold.
        until: SystemTime,
        /// Why the image is needed.
        reason: String,
        /// Who answers for it, as the sender wrote it.
        owner: String,
    },
    /// End the hold of the image.
    Withdraw,
}

impl RestoreAction {
    /// Returns the tags that it names; `None` if it means all removed tags, or no tag at all.
    #[must_use]
    pub fn tags(&self) -> Option<&BTreeSet<Tag>> {
        match self {
            Self::GiveBack { tags } | Self::Hold { tags, .. } => tags.as_ref(),
            Self::Withdraw => None,
        }
    }
}

impl RestoreOrder {
    /// Returns the body of the message.
    #[must_use]
    pub fn body(&self) -> String {
        let Repository { account, region, name } = &self.repository;
        let mut detail = json!({
            "account": account.as_str(),
            "region": region.as_str(),
            "repository": name.as_str(),
            "digest": self.digest.as_str(),
        });
        let mut set = |field: &str, value: serde_json::Value| {
            if let Some(detail) = detail.as_object_mut() {
                detail.insert(field.to_owned(), value);
            }
        };
        if let Some(request) = &self.request {
            set("request", json!(request));
        }
        if let Some(tags) = self.action.tags() {
            set("tags", tags.iter().map(Tag::as_str).collect());
        }
        if self.action == RestoreAction::Withdraw {
            set("withdraw", json!(true));
        }
        if let RestoreAction::Hold { until, reason, owner, .. } = &self.action {
            set("until", json!(humantime::format_rfc3339_seconds(*until).to_string()));
            set("reason", json!(reason));
            set("owner", json!(owner));
        }
        json!({"source": SOURCE, "detail-type": RESTORE, "detail": detail}).to_string()
    }
}

/// Returns whether source and type are those of the message.
pub(super) fn is_ours(source: &str, detail_type: &str) -> bool {
    source == SOURCE && detail_type == RESTORE
}

/// Everything that the body may have. EventBridge adds other fields, such as `account` and `id`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a message that asks to restore an image")]
struct Plain<'a> {
    #[serde(borrow, rename = "source")]
    _source: &'a RawValue,
    #[serde(borrow, rename = "detail-type")]
    _detail_type: &'a RawValue,
    #[serde(borrow, rename = "detail")]
    _detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the detail of a message that asks to restore an image")]
struct Detail {
    request: Option<String>,
    account: Option<String>,
    region: Option<String>,
    repository: String,
    digest: String,
    tags: Option<Vec<String>>,
    until: Option<String>,
    reason: Option<String>,
    owner: Option<String>,
    withdraw: Option<bool>,
}

/// Reads the message.
pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    if envelope.read::<Plain<'_>>("", envelope.body()).is_err() {
        return Err(Malformed::new(
            "a request to restore an image has other fields than `source`, `detail-type` and \
             `detail`, as if it came by an event bus: it counts only as the plain body of a \
             message, because a bus hides who sent it",
        ));
    }
    let detail: Detail = envelope.detail()?;
    let order = RestoreOrder {
        request: detail.request.as_deref().map(request).transpose()?,
        repository: detail.place(own)?,
        digest: Digest::parse(detail.digest.as_str()).map_err(invalid("detail.digest"))?,
        action: detail.action()?,
    };
    let origin = Box::new(envelope.origin()?);
    Ok(Parsed::Restore { origin, order: Box::new(order) })
}

/// Refuses a message that came by a topic.
pub(super) fn not_by_sns(parsed: Parsed) -> Result<Parsed, Malformed> {
    match parsed {
        Parsed::Restore { .. } => Err(Malformed::new(
            "a request to restore an image counts only as the plain body of a message, because a \
             topic hides who sent it: send it to the queue itself",
        )),
        parsed => Ok(parsed),
    }
}

impl Detail {
    /// Returns the repository. What the message does not name is the worker's own.
    fn place(&self, own: &RegistryId) -> Result<Repository, Malformed> {
        let account = match self.account.as_deref() {
            None => own.account.clone(),
            Some(text) => AccountId::parse(text).map_err(invalid("detail.account"))?,
        };
        let region = match self.region.as_deref() {
            None => own.region.clone(),
            Some(text) => Region::parse(text).map_err(invalid("detail.region"))?,
        };
        let name = RepositoryName::parse(self.repository.as_str());
        Ok(Repository { account, region, name: name.map_err(invalid("detail.repository"))? })
    }

    fn action(&self) -> Result<RestoreAction, Malformed> {
        let Self { until, reason, owner, .. } = self;
        let tags = self.tags.as_deref().map(tags).transpose()?;
        let is_withdrawal = self.withdraw.unwrap_or_default();
        match (until.as_deref(), reason.as_deref(), owner.as_deref()) {
            (None, None, None) if is_withdrawal && tags.is_none() => Ok(RestoreAction::Withdraw),
            _ if is_withdrawal => Err(Malformed::new(
                "detail.withdraw excludes detail.tags, detail.until, detail.reason and \
                 detail.owner: it ends the hold of the image and does nothing else",
            )),
            (None, None, None) => Ok(RestoreAction::GiveBack { tags }),
            (Some(until), Some(reason), Some(owner)) => Ok(RestoreAction::Hold {
                tags,
                until: time(until)?,
                reason: line("detail.reason", reason, LONGEST_REASON)?,
                owner: line("detail.owner", owner, LONGEST_NAME)?,
            }),
            _ => Err(Malformed::new(
                "detail.until, detail.reason and detail.owner belong together: a hold needs all \
                 three, and a request without a hold has none",
            )),
        }
    }
}

fn invalid(field: &'static str) -> impl Fn(InvalidName) -> Malformed {
    move |error| Malformed::name(field, &error)
}

/// Returns an id of a request. It becomes a part of records, lines of text and notice ids.
fn request(text: &str) -> Result<String, Malformed> {
    let is_of_an_id = |c: char| c.is_ascii_graphic();
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(is_of_an_id) {
        return Err(Malformed::new(format!(
            "detail.request is not an id of 1 to {LONGEST_NAME} visible ASCII characters"
        )));
    }
    Ok(text.to_owned())
}

fn tags(texts: &[String]) -> Result<BTreeSet<Tag>, Malformed> {
    if texts.is_empty() || texts.len() > MAX_TAGS {
        return Err(Malformed::new(format!(
            "detail.tags has {} tags, expected 1 to {MAX_TAGS}; without the field, all removed \
             tags are meant",
            texts.len()
        )));
    }
    let tags = texts.iter().map(|text| Tag::parse(text.as_str()));
    tags.collect::<Result<_, _>>().map_err(invalid("a tag of detail.tags"))
}

/// Returns a time to the second, because records have no more. A date is its first moment in UTC.
fn time(text: &str) -> Result<SystemTime, Malformed> {
    let time = humantime::parse_rfc3339(text)
        .or_else(|_| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")));
    let since = time.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| {
        Malformed::new(
            "detail.until is not a time such as 2026-12-31T18:00:00Z, nor a date such as \
             2026-12-31",
        )
    })?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

fn line(field: &str, text: &str, most: usize) -> Result<String, Malformed> {
    let length = text.chars().count();
    if !says_something(text) || length > most || text.contains(is_unseen) {
        return Err(Malformed::new(format!(
            "{field} is not a line of 1 to {most} characters without invisible ones, with a letter \
             or a digit"
        )));
    }
    Ok(text.to_owned())
}
