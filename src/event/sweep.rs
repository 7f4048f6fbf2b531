//! The messages of a sweep: those that a schedule sends, and those that tasks send to each other
//! through the queue.
//!
//! A sweep has no leader and no database. Its state is in its messages, so that any task can take
//! the next step and a killed task loses nothing:
//!
//! 1. `Sweep Registry` starts a sweep of one registry, or of all registries that the policy names.
//!    It becomes one `Sweep Repository` message for each repository.
//! 2. `Sweep Repository` holds the progress of one repository. Each slice of images sends the next.
//! 3. `Sweep Image` asks to assess one image whose tags have to be removed. It is handled like any
//!    other event, with its own lease, retries, limits and notices.
//! 4. `Sweep Result` brings the counts of a repository back, and later says that the summary was
//!    sent.
//!
//! Every message may be delivered twice, and anybody who can send to the queue may write one, so
//! the names and counts in it are bounded.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::{Envelope, object};
use super::{Claim, ImageEvent, Kind, Malformed, Parsed, digest, tags};
use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{
    AccountId, Digest, Region, RegistryId, Repository, RepositoryName, Tag,
};
use crate::domain::origin::Origin;

/// The `source` of our own messages.
pub const SOURCE: &str = "tagwarden";
const REGISTRY: &str = "Sweep Registry";
const REPOSITORY: &str = "Sweep Repository";
/// The `detail-type` of an image that a sweep found and whose tags have to be removed.
pub const IMAGE: &str = "Sweep Image";
const RESULT: &str = "Sweep Result";

/// The sources of schedules without an input of their own: EventBridge Scheduler and the scheduled
/// rules of EventBridge (EventBridge user guide). Such an event in our queue can only mean a sweep.
pub(super) const SCHEDULES: [&str; 2] = ["aws.scheduler", "aws.events"];
pub(super) const SCHEDULED: &str = "Scheduled Event";

const KIND: Kind = Kind::Sweep;

/// The maximum number of slices of one repository. Together they hold twice as many images as ECR
/// allows in one repository (ECR service quotas).
pub const MAX_SLICES: u32 = 2_000;
/// The longest id of a sweep, in bytes.
pub const LONGEST_ID: usize = 128;
/// The largest numbers that a message may claim, because anybody may have written it: repositories
/// in one result, repositories in one registry, and images of one repository in one state. ECR
/// holds a tenth of the latter two (ECR service quotas).
const MAX_NAMED: usize = 4_096;
const MAX_REPOSITORIES: u32 = 1_000_000;
const MAX_IMAGES: u64 = 1_000_000;

/// One step of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The source, type, id and time of the message that began the sweep.
    pub origin: Origin,
    /// The sweep's id; `None` if the message that begins the sweep names none and its own id is
    /// used.
    pub sweep: Option<String>,
    /// The action of this step.
    pub step: Step,
}

/// The action of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sweep every registry that the policy names.
    All,
    /// Sweep the repositories of one registry.
    Registry(RegistryId),
    /// Inspect the images of one repository, slice by slice.
    Repository(Slice),
    /// Collect results of repositories.
    Result(Found),
    /// Note that the summary of a registry was sent.
    Told(Told),
}

/// The progress of the sweep of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The repository.
    pub repository: Repository,
    /// The index of this repository within the sweep of its registry.
    pub number: u32,
    /// The number of repositories in the sweep of its registry.
    pub of: u32,
    /// The number of slices that have been inspected.
    pub slices: u32,
    /// How often in a row the next slice was deferred.
    pub waits: u32,
    /// The token with which ECR continues its list; `None` begins the list.
    pub next_token: Option<String>,
    /// The counts of the images in the inspected slices.
    pub census: Census,
}

/// The results of some of the repositories of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The registry.
    pub registry_id: RegistryId,
    /// The number of repositories in the sweep of the registry.
    pub of: u32,
    /// The repositories whose results are known.
    pub repositories: BTreeMap<RepositoryName, Part>,
}

/// The result of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The number of its images in each state.
    pub census: Census,
    /// Whether it holds more images than a sweep inspects.
    pub is_cut: bool,
}

/// The summary of a registry was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The registry.
    pub registry_id: RegistryId,
    /// When the summary was sent.
    pub at: SystemTime,
    /// Whether the summary covered all repositories.
    pub is_whole: bool,
}

#[derive(Deserialize)]
#[serde(expecting = "the detail of a sweep")]
struct SweepDetail {
    sweep: Option<String>,
    account: Option<String>,
    region: Option<String>,
    repository: Option<String>,
    number: Option<u32>,
    of: Option<u32>,
    #[serde(default)]
    slices: u32,
    #[serde(default)]
    waits: u32,
    next_token: Option<String>,
    #[serde(default)]
    census: BTreeMap<String, u64>,
    #[serde(default)]
    repositories: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default)]
    cut: BTreeSet<String>,
    /// Seconds since 1970-01-01T00:00:00Z.
    told: Option<u32>,
    whole: Option<bool>,
    image_digest: Option<String>,
    image_tags: Option<Vec<Option<String>>>,
}

pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    let origin = envelope.origin()?;
    if envelope.detail_type == SCHEDULED {
        return Ok(ordered(origin, None, Step::All));
    }
    let detail = detail(envelope)?;
    let sweep = detail.sweep.filter(|sweep| !sweep.is_empty());
    if sweep
        .as_ref()
        .is_some_and(|sweep| sweep.len() > LONGEST_ID || sweep.contains(char::is_control))
    {
        let problem = "detail.sweep exceeds 128 bytes or contains control characters";
        return Err(Malformed::new(problem));
    }
    let registry_id = registry_id(detail.account.as_deref(), detail.region.as_deref(), own)?;
    if envelope.detail_type == REGISTRY {
        let one = detail.account.is_some() || detail.region.is_some();
        let step = if one { Step::Registry(registry_id) } else { Step::All };
        return Ok(ordered(origin, sweep, step));
    }
    let of = detail.of.unwrap_or_default();
    if of > MAX_REPOSITORIES {
        return Err(Malformed::new("detail.of exceeds 1,000,000"));
    }
    if envelope.detail_type == RESULT {
        if let Some(told) = detail.told {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(told.into());
            let is_whole = detail.whole.unwrap_or(true);
            return Ok(ordered(origin, sweep, Step::Told(Told { registry_id, at, is_whole })));
        }
        let named = detail.repositories.len();
        if named > MAX_NAMED || (named == 0 && of > 0) {
            return Err(Malformed::new("detail.repositories is empty or exceeds 4,096 names"));
        }
        let repositories = detail.repositories.into_iter().map(|(repository, counts)| {
            let is_cut = detail.cut.contains(&repository);
            Ok((name(&repository)?, Part { census: census(&counts)?, is_cut }))
        });
        let repositories = repositories.collect::<Result<_, _>>()?;
        return Ok(ordered(origin, sweep, Step::Result(Found { registry_id, of, repositories })));
    }
    let repository =
        detail.repository.ok_or_else(|| Malformed::new("detail.repository is missing"))?;
    let RegistryId { account, region } = registry_id;
    let repository = Repository { account, region, name: name(&repository)? };
    if envelope.detail_type == IMAGE {
        let event = ImageEvent {
            kind: KIND,
            origin,
            repository,
            digest: digest("detail.image_digest", detail.image_digest, None)?,
            tags: tags("detail.image_tags", detail.image_tags)?,
            claim: Claim::Nothing,
        };
        return Ok(event.into_parsed());
    }
    if detail.slices > MAX_SLICES {
        return Err(Malformed::new("detail.slices exceeds 2,000"));
    }
    let slice = Slice {
        repository,
        number: detail.number.unwrap_or_default(),
        of,
        slices: detail.slices,
        waits: detail.waits,
        next_token: detail.next_token,
        census: census(&detail.census)?,
    };
    Ok(ordered(origin, sweep, Step::Repository(slice)))
}

fn ordered(origin: Origin, sweep: Option<String>, step: Step) -> Parsed {
    Parsed::Sweep(Box::new(Order { origin, sweep, step }))
}

/// Returns whether source and type are those of a message of a sweep.
pub(super) fn is_ours(source: &str, detail_type: &str) -> bool {
    match source {
        SOURCE => [REGISTRY, REPOSITORY, IMAGE, RESULT].contains(&detail_type),
        schedule => SCHEDULES.contains(&schedule) && detail_type == SCHEDULED,
    }
}

/// Reads the detail: an object, or a string that contains one, as EventBridge Scheduler writes it.
/// A missing or empty detail asks for a sweep of everything.
fn detail(envelope: &Envelope<'_>) -> Result<SweepDetail, Malformed> {
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
    serde_json::from_str(&json).map_err(|error| Malformed::json("detail: ", &error))
}

fn registry_id(
    account: Option<&str>,
    region: Option<&str>,
    own: &RegistryId,
) -> Result<RegistryId, Malformed> {
    let account = match account {
        None => own.account.clone(),
        Some(account) => {
            AccountId::parse(account).map_err(|error| Malformed::name("detail.account", &error))?
        }
    };
    let region = match region {
        None => own.region.clone(),
        Some(region) => {
            Region::parse(region).map_err(|error| Malformed::name("detail.region", &error))?
        }
    };
    Ok(RegistryId { account, region })
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

fn counts(census: &Census) -> Value {
    census.iter().map(|(coverage, images)| (coverage.as_str(), images)).collect()
}

impl Order {
    /// Returns the message that asks for this step. Its id is the same however often it is sent.
    #[must_use]
    pub fn body(&self) -> String {
        let sweep = self.sweep.as_deref().unwrap_or_default();
        let (detail_type, id, detail) = match &self.step {
            Step::All => (REGISTRY, sweep.to_owned(), json!({"sweep": sweep})),
            Step::Registry(RegistryId { account, region }) => (
                REGISTRY,
                format!("{sweep}/{account}/{region}"),
                json!({"sweep": sweep, "account": account.as_str(), "region": region.as_str()}),
            ),
            Step::Repository(slice) => {
                let Slice { repository, number, of, slices, waits, next_token, census } = slice;
                let Repository { account, region, name } = repository;
                let detail = json!({
                    "sweep": sweep,
                    "account": account.as_str(),
                    "region": region.as_str(),
                    "repository": name.as_str(),
                    "number": number,
                    "of": of,
                    "slices": slices,
                    "waits": waits,
                    "next_token": next_token,
                    "census": counts(census),
                });
                (REPOSITORY, format!("{sweep}/{account}/{region}/{number}/{slices}"), detail)
            }
            Step::Result(Found {
                registry_id: RegistryId { account, region },
                of,
                repositories,
            }) => {
                let cut = repositories.iter().filter(|(_, part)| part.is_cut);
                let cut: Vec<_> = cut.map(|(name, _)| name.as_str()).collect();
                let repositories: serde_json::Map<_, _> = repositories
                    .iter()
                    .map(|(name, part)| (name.to_string(), counts(&part.census)))
                    .collect();
                let detail = json!({
                    "sweep": sweep,
                    "account": account.as_str(),
                    "region": region.as_str(),
                    "of": of,
                    "repositories": repositories,
                    "cut": cut,
                });
                (RESULT, format!("{sweep}/{account}/{region}/result"), detail)
            }
            Step::Told(Told { registry_id: RegistryId { account, region }, at, is_whole }) => {
                let told = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                let detail = json!({
                    "sweep": sweep,
                    "account": account.as_str(),
                    "region": region.as_str(),
                    "told": told,
                    "whole": is_whole,
                });
                (RESULT, format!("{sweep}/{account}/{region}/told"), detail)
            }
        };
        body(detail_type, &id, &self.origin, &detail)
    }
}

/// Returns the message that asks to assess an image whose tags have to be removed.
#[must_use]
pub fn image(order: &Order, repository: &Repository, image: &Digest, image_tags: &[Tag]) -> String {
    let sweep = order.sweep.as_deref().unwrap_or_default();
    let detail = json!({
        "sweep": sweep,
        "account": repository.account.as_str(),
        "region": repository.region.as_str(),
        "repository": repository.name.as_str(),
        "image_digest": image.as_str(),
        "image_tags": image_tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
    });
    body(IMAGE, sweep, &order.origin, &detail)
}

fn body(detail_type: &str, id: &str, origin: &Origin, detail: &Value) -> String {
    let time = origin.time.as_deref();
    json!({
        "source": SOURCE,
        "detail-type": detail_type,
        "id": id,
        "time": time,
        "detail": detail,
    })
    .to_string()
}
