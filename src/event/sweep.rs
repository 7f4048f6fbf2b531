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

mod details;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::domain::coverage::Census;
use crate::domain::names::{Digest, RegistryId, Repository, RepositoryName, Tag};
use crate::domain::origin::Origin;

pub(super) use details::parse;

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

/// The maximum number of slices of one repository. Together they hold twice as many images as ECR
/// allows in one repository (ECR service quotas).
pub const MAX_SLICES: u32 = 2_000;
/// The longest id of a sweep, in bytes.
pub const LONGEST_ID: usize = 128;

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

/// Returns whether source and type are those of a message of a sweep.
pub(super) fn is_ours(source: &str, detail_type: &str) -> bool {
    match source {
        SOURCE => [REGISTRY, REPOSITORY, IMAGE, RESULT].contains(&detail_type),
        schedule => SCHEDULES.contains(&schedule) && detail_type == SCHEDULED,
    }
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
