//! Reads the messages of a sweep. Each `detail-type` has a type of its own, so that a field that a
//! step needs is required by its type.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    Found, IMAGE, LONGEST_ID, MAX_SLICES, Order, Part, REGISTRY, RESULT, SCHEDULED, Slice, Step,
    Told,
};
use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{AccountId, Region, RegistryId, Repository, RepositoryName};
use crate::domain::origin::Origin;
use crate::event::envelope::{Envelope, object};
use crate::event::{Claim, ImageEvent, Kind, Malformed, Parsed, digest, tags};

/// The largest numbers that a message may claim, because anybody may have written it: repositories
/// in one result, repositories in one registry, and images of one repository in one state. ECR
/// holds a tenth of the latter two (ECR service quotas).
const MAX_NAMED: usize = 4_096;
const MAX_REPOSITORIES: u32 = 1_000_000;
const MAX_IMAGES: u64 = 1_000_000;

/// What every message of a sweep may name.
#[derive(Deserialize)]
#[serde(expecting = "the detail of a sweep")]
struct Heading {
    sweep: Option<String>,
    account: Option<String>,
    region: Option<String>,
}

impl Heading {
    /// Returns the sweep's id; `None` if the message's own is to be used.
    fn sweep(&self) -> Result<Option<String>, Malformed> {
        let sweep = self.sweep.as_deref().filter(|sweep| !sweep.is_empty());
        match sweep {
            Some(sweep) if sweep.len() > LONGEST_ID || sweep.contains(char::is_control) => {
                let problem = "detail.sweep exceeds 128 bytes or contains control characters";
                Err(Malformed::new(problem))
            }
            sweep => Ok(sweep.map(str::to_owned)),
        }
    }

    /// Returns the registry. What the message does not name is the worker's own.
    fn registry_id(&self, own: &RegistryId) -> Result<RegistryId, Malformed> {
        let account = match self.account.as_deref() {
            None => own.account.clone(),
            Some(account) => AccountId::parse(account)
                .map_err(|error| Malformed::name("detail.account", &error))?,
        };
        let region = match self.region.as_deref() {
            None => own.region.clone(),
            Some(region) => {
                Region::parse(region).map_err(|error| Malformed::name("detail.region", &error))?
            }
        };
        Ok(RegistryId { account, region })
    }
}

/// `Sweep Image`.
#[derive(Deserialize)]
#[serde(expecting = "the detail of an image of a sweep")]
struct ImageDetail {
    repository: String,
    image_digest: Option<String>,
    image_tags: Option<Vec<Option<String>>>,
}

/// `Sweep Repository`. A message that names only a repository begins with its first slice.
#[derive(Deserialize)]
#[serde(expecting = "the detail of a repository of a sweep")]
struct SliceDetail {
    repository: String,
    #[serde(default)]
    number: u32,
    #[serde(default)]
    of: u32,
    #[serde(default)]
    slices: u32,
    #[serde(default)]
    waits: u32,
    next_token: Option<String>,
    #[serde(default)]
    census: BTreeMap<String, u64>,
}

/// `Sweep Result` with the results of repositories.
#[derive(Deserialize)]
#[serde(expecting = "the detail of results of a sweep")]
struct FoundDetail {
    of: u32,
    repositories: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default)]
    cut: BTreeSet<String>,
}

/// The field that only the second form of `Sweep Result` has.
#[derive(Deserialize)]
#[serde(expecting = "the detail of a result of a sweep")]
struct ResultForm {
    told: Option<IgnoredAny>,
}

/// `Sweep Result` that says that the summary was sent.
#[derive(Deserialize)]
#[serde(expecting = "the detail of a summary of a sweep")]
struct ToldDetail {
    /// Seconds since 1970-01-01T00:00:00Z.
    told: u32,
    whole: Option<bool>,
}

/// Reads a message of a sweep.
pub(in crate::event) fn parse(
    envelope: &Envelope<'_>,
    own: &RegistryId,
) -> Result<Parsed, Malformed> {
    let origin = envelope.origin()?;
    if envelope.detail_type == SCHEDULED {
        return Ok(ordered(origin, None, Step::All));
    }
    let json = detail(envelope)?;
    let heading: Heading = read(&json, envelope)?;
    let sweep = heading.sweep()?;
    let registry_id = heading.registry_id(own)?;
    let step = match &*envelope.detail_type {
        REGISTRY if heading.account.is_none() && heading.region.is_none() => Step::All,
        REGISTRY => Step::Registry(registry_id),
        IMAGE => return image(read(&json, envelope)?, origin, registry_id),
        RESULT if read::<ResultForm>(&json, envelope)?.told.is_some() => {
            told(&read(&json, envelope)?, registry_id)
        }
        RESULT => found(read(&json, envelope)?, registry_id)?,
        _ => slice(read(&json, envelope)?, registry_id)?,
    };
    Ok(ordered(origin, sweep, step))
}

fn ordered(origin: Origin, sweep: Option<String>, step: Step) -> Parsed {
    Parsed::Sweep(Box::new(Order { origin, sweep, step }))
}

fn image(
    detail: ImageDetail,
    origin: Origin,
    registry_id: RegistryId,
) -> Result<Parsed, Malformed> {
    let event = ImageEvent {
        kind: Kind::Sweep,
        origin,
        repository: repository(&detail.repository, registry_id)?,
        digest: digest("detail.image_digest", detail.image_digest, None)?,
        tags: tags("detail.image_tags", detail.image_tags)?,
        claim: Claim::Nothing,
    };
    Ok(event.into_parsed())
}

fn slice(detail: SliceDetail, registry_id: RegistryId) -> Result<Step, Malformed> {
    let SliceDetail { repository: name, number, of, slices, waits, next_token, census: counts } =
        detail;
    let repository = repository(&name, registry_id)?;
    if slices > MAX_SLICES {
        return Err(Malformed::new("detail.slices exceeds 2,000"));
    }
    let (of, census) = (bounded(of)?, census(&counts)?);
    Ok(Step::Repository(Slice { repository, number, of, slices, waits, next_token, census }))
}

fn found(detail: FoundDetail, registry_id: RegistryId) -> Result<Step, Malformed> {
    let FoundDetail { of, repositories, cut } = detail;
    let of = bounded(of)?;
    let named = repositories.len();
    if named > MAX_NAMED || (named == 0 && of > 0) {
        return Err(Malformed::new("detail.repositories is empty or exceeds 4,096 names"));
    }
    let repositories = repositories.into_iter().map(|(repository, counts)| {
        let is_cut = cut.contains(&repository);
        Ok((name(&repository)?, Part { census: census(&counts)?, is_cut }))
    });
    let repositories = repositories.collect::<Result<_, _>>()?;
    Ok(Step::Result(Found { registry_id, of, repositories }))
}

fn told(detail: &ToldDetail, registry_id: RegistryId) -> Step {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(detail.told.into());
    Step::Told(Told { registry_id, at, is_whole: detail.whole.unwrap_or(true) })
}

/// Returns the text of the detail: an object, or a string that contains one, as EventBridge
/// Scheduler writes it. A missing or empty detail asks for a sweep of everything.
fn detail<'a>(envelope: &'a Envelope<'_>) -> Result<Cow<'a, str>, Malformed> {
    let json = match envelope.raw_detail() {
        None | Some("null") => Cow::Borrowed("{}"),
        Some(raw) if raw.starts_with('"') => {
            let text: String =
                serde_json::from_str(raw).map_err(|error| Malformed::json("detail: ", &error))?;
            Cow::Owned(if text.trim().is_empty() { "{}".to_owned() } else { text })
        }
        Some(raw) => Cow::Borrowed(raw),
    };
    object("detail", &json)?;
    Ok(json)
}

fn read<T: DeserializeOwned>(detail: &str, envelope: &Envelope<'_>) -> Result<T, Malformed> {
    envelope.read("detail", detail)
}

/// Returns a number of repositories, if a registry can have so many.
fn bounded(of: u32) -> Result<u32, Malformed> {
    if of > MAX_REPOSITORIES {
        return Err(Malformed::new("detail.of exceeds 1,000,000"));
    }
    Ok(of)
}

fn repository(text: &str, registry_id: RegistryId) -> Result<Repository, Malformed> {
    let RegistryId { account, region } = registry_id;
    Ok(Repository { account, region, name: name(text)? })
}

fn name(text: &str) -> Result<RepositoryName, Malformed> {
    RepositoryName::parse(text).map_err(|error| Malformed::name("detail.repository", &error))
}

fn census(counts: &BTreeMap<String, u64>) -> Result<Census, Malformed> {
    let mut census = Census::default();
    for (word, images) in counts {
        let coverage = Coverage::from_word(word)
            .ok_or_else(|| Malformed::new("the census counts an unknown state"))?;
        if *images > MAX_IMAGES {
            return Err(Malformed::new("the census counts more than 1,000,000 images"));
        }
        census.add(coverage, *images);
    }
    Ok(census)
}
