//! The envelope that EventBridge puts around every event.
//!
//! It says where the image is when the detail does not, so its account and Region are checked here,
//! before anything is called with them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Kind, Malformed, Parsed, reading};
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, RegistryId, Repository, RepositoryArn, RepositoryName,
};
use crate::domain::origin::Origin;

/// The two fields that say whether an event is for us. The other fields of an event that is not for
/// us may have any shape.
#[derive(Deserialize)]
#[serde(expecting = "an EventBridge event")]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) source: Cow<'a, str>,
    #[serde(borrow, rename = "detail-type")]
    pub(super) detail_type: Cow<'a, str>,
}

impl<'a> Head<'a> {
    pub(super) fn parse(body: &'a str) -> Result<Self, Malformed> {
        object("the body", body)?;
        reading::read("", body, body)
    }

    /// Returns the start of source and type for the log, because both can have any length.
    pub(super) fn origin(&self) -> Origin {
        let start = |text: &str| text.chars().filter(|c| !c.is_control()).take(128).collect();
        Origin {
            id: None,
            source: start(&self.source),
            detail_type: start(&self.detail_type),
            time: None,
            at: None,
        }
    }
}

/// An event as a rule's SQS target receives it. `detail` stays unread until the family is known.
#[derive(Deserialize)]
#[serde(expecting = "an EventBridge event")]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) source: Cow<'a, str>,
    #[serde(borrow, rename = "detail-type")]
    pub(super) detail_type: Cow<'a, str>,
    id: Option<String>,
    account: Option<String>,
    region: Option<String>,
    time: Option<String>,
    #[serde(default)]
    resources: Option<Vec<Option<String>>>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    /// The whole body, for positions in errors.
    #[serde(skip)]
    body: &'a str,
}

/// A repository, and the digest if its ARN contains one.
pub(super) struct EventPlace {
    pub(super) repository: Repository,
    pub(super) digest: Option<Digest>,
}

impl From<RepositoryArn> for EventPlace {
    fn from(arn: RepositoryArn) -> Self {
        Self { repository: arn.repository, digest: arn.digest }
    }
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(body: &'a str) -> Result<Self, Malformed> {
        object("the body", body)?;
        let envelope: Self = reading::read("", body, body)?;
        Ok(Self { body, ..envelope })
    }

    /// Reads `detail` as the family's own type.
    pub(super) fn detail<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        let detail = self.detail.ok_or_else(|| Malformed::new("detail is missing"))?;
        object("detail", detail.get())?;
        self.read("detail", detail.get())
    }

    /// Reads the text of the field `place`. Errors give positions in the whole body.
    pub(super) fn read<'de, T: Deserialize<'de>>(
        &self,
        place: &str,
        json: &'de str,
    ) -> Result<T, Malformed> {
        reading::read(place, json, self.body)
    }

    /// Returns the whole body.
    pub(super) fn body(&self) -> &'a str {
        self.body
    }

    /// Returns the text of `detail`.
    pub(super) fn raw_detail(&self) -> Option<&str> {
        self.detail.map(RawValue::get)
    }

    /// Returns whether any of the event's resources is an ECR repository or an image in one.
    pub(super) fn concerns_a_repository(&self) -> bool {
        self.arns().next().is_some()
    }

    /// Returns source, type, id and time. They are checked, because they become parts of notice ids
    /// and of lines of text.
    pub(super) fn origin(&self) -> Result<Origin, Malformed> {
        let printable = |field: &str, value: &str| {
            if value.len() > 256 || value.contains(char::is_control) {
                return Err(Malformed::new(format!(
                    "{field} exceeds 256 bytes or contains control characters"
                )));
            }
            Ok(())
        };
        printable("source", &self.source)?;
        printable("detail-type", &self.detail_type)?;
        let id = self.id.clone().filter(|id| !id.is_empty());
        printable("id", id.as_deref().unwrap_or_default())?;
        printable("time", self.time.as_deref().unwrap_or_default())?;
        let time = self.time.clone().filter(|time| !time.is_empty());
        Ok(Origin {
            id,
            source: self.source.clone().into_owned(),
            detail_type: self.detail_type.clone().into_owned(),
            at: time.as_deref().and_then(|time| humantime::parse_rfc3339(time).ok()),
            time,
        })
    }

    /// Ignores an event of this family, for this reason.
    pub(super) fn ignored(&self, kind: Kind, reason: &'static str) -> Result<Parsed, Malformed> {
        Ok(Parsed::Ignored { kind, origin: Box::new(self.origin()?), reason })
    }

    /// Returns the repository with this `name`, a plain name or an ARN. Account and Region come
    /// from the ARN, in the detail or among the resources; else from the detail's `account` and the
    /// envelope; else they are the worker's own. Errors name `field`, the place of the name.
    pub(super) fn place(
        &self,
        field: &str,
        name: &str,
        account: Option<&str>,
        own: &RegistryId,
    ) -> Result<EventPlace, Malformed> {
        let invalid = |error: InvalidName| Malformed::name(field, &error);
        if name.starts_with("arn:") {
            return RepositoryArn::parse(name).map(EventPlace::from).map_err(invalid);
        }
        let name = RepositoryName::parse(name).map_err(invalid)?;
        if let Some(arn) = self.arns().find(|arn| arn.repository.name == name) {
            return Ok(EventPlace::from(arn));
        }
        let account = match account.or(self.account.as_deref()) {
            None | Some("") => own.account.clone(),
            Some(account) => {
                AccountId::parse(account).map_err(|error| Malformed::name("account", &error))?
            }
        };
        let region = match self.region.as_deref() {
            None | Some("") => own.region.clone(),
            Some(region) => {
                Region::parse(region).map_err(|error| Malformed::name("region", &error))?
            }
        };
        Ok(EventPlace { repository: Repository { account, region, name }, digest: None })
    }

    /// Returns the event's resources that are ECR repositories or images in them.
    pub(super) fn arns(&self) -> impl Iterator<Item = RepositoryArn> + '_ {
        self.resources
            .iter()
            .flatten()
            .flatten()
            .filter_map(|resource| RepositoryArn::parse(resource).ok())
    }
}

/// Refuses everything but an object, because serde would read an array as the fields of a struct in
/// order.
pub(super) fn object(place: &str, json: &str) -> Result<(), Malformed> {
    if json.trim_start().starts_with('{') {
        Ok(())
    } else {
        Err(Malformed::new(format!("{place} is not a JSON object")))
    }
}
