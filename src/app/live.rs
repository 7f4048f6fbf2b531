//! Read-only commands against AWS: `tagwarden explain --live` judges an image by what ECR shows
//! now, and `tagwarden check --live` tries every permission. They use the worker's own parts, so
//! that their answers are those of the worker. No call here changes anything.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::wiring::{Client, Reading, Surroundings, record_settings};
use super::{RunError, identity};
use crate::aws::{AwsError, Tried};
use crate::check::{Lifecycle, iam, scope};
use crate::config::{JudgingSettings, closest, did_you_mean};
use crate::domain::image_reference::{ImageReference, TagOrDigest};
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, RegistryId, Repository, RepositoryName, Tag,
};
use crate::domain::origin::Origin;
use crate::domain::policy::{Mode, Policy, PolicyVersion};
use crate::event::{Claim, ImageEvent};
use crate::explain::live::{Live, inspect};
use crate::explain::{Past, Today};
use crate::inspect::{Freshness, Inspection, Request, Urgency};
use crate::notify::SnsNotifier;
use crate::outcome::{Attempt, Failure};
use crate::quarantined::Reader;
use crate::queue::Queue as _;
use crate::queue::SqsQueue;
use crate::registry::{self, EcrRegistry, Records, Registry as _, UntagBy, Uses};
use crate::shutdown::{Shutdown, time_for_work};
use crate::sweep::{NothingInspected, Refusal};

/// A reason why AWS could not be inspected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    /// The worker's parts cannot be built.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A call failed.
    #[error("{error}{}", error.advice())]
    Call {
        /// The error of the call.
        #[source]
        error: AwsError,
    },
    /// The image cannot be inspected.
    #[error("{failure}{}", failure.advice())]
    Inspection {
        /// The failure of the inspection.
        #[source]
        failure: Failure,
    },
    /// Nobody could be notified of what is removed.
    #[error(
        "nothing was changed: {action} is missing on the topic {topic}; allow the caller {action}"
    )]
    Unnotifiable {
        /// The missing permission.
        action: &'static str,
        /// The topic's ARN.
        topic: String,
    },
    /// A second signal came.
    #[error("stopped at once by a second signal")]
    SecondSignal,
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] NothingInspected),
    /// A plan is not applied.
    #[error("the plan {0}")]
    Refused(#[from] Refusal),
    /// A name does not say which image is meant, or there is nothing to do about it.
    #[error("{0}")]
    NotChosen(String),
    /// A plan names something that cannot exist.
    #[error("the plan cannot be used: {0}")]
    Name(#[from] InvalidName),
}

impl From<AwsError> for LiveError {
    fn from(error: AwsError) -> Self {
        Self::Call { error }
    }
}

impl From<Failure> for LiveError {
    fn from(failure: Failure) -> Self {
        Self::Inspection { failure }
    }
}

/// Inspects the image that an event is about, as a worker in `own` would. It changes nothing.
///
/// # Errors
/// Returns the call that failed.
pub(crate) async fn look(
    settings: JudgingSettings,
    sdk: &SdkConfig,
    own: RegistryId,
    event: &ImageEvent,
) -> Result<Live, LiveError> {
    let client = Client::new(sdk, settings.aws, None)?;
    let shutdown = Shutdown::default();
    let records = record_settings(settings.records, &settings.restore);
    let surroundings =
        Surroundings::of_command(settings.policy, records, own.clone(), shutdown, &client);
    let registry = EcrRegistry::new(client.aws, own, UntagBy::TagAndDigest);
    let Reading { inspector, safeguards, .. } = Reading::new(&surroundings, registry);
    let freshness = Freshness::now(None);
    let request = Request::of_event(
        event,
        None,
        freshness,
        Attempt::ONLY,
        Urgency::Immediate,
        surroundings.policy.current(),
    );
    Ok(inspect(&inspector, &safeguards, &surroundings.own, &request).await?)
}

/// Returns the worker's own account and Region: those of the queue, or of the caller.
///
/// # Errors
/// Returns the call that failed.
pub(crate) async fn own_registry(
    settings: &JudgingSettings,
    sdk: &SdkConfig,
) -> Result<RegistryId, LiveError> {
    if let Some(own) = &settings.own {
        return Ok(own.clone());
    }
    let client = Client::new(sdk, settings.aws.clone(), None)?;
    Ok(identity::caller(&client.aws).await?)
}

/// An image as ECR shows it now, and what else its repository holds.
#[derive(Debug)]
pub(crate) struct NamedImage {
    /// The repository, in the registry that was asked.
    pub repository: Repository,
    /// The inspection of the image, and of the indexes that hold it.
    pub live: Live,
    /// What the registry remembers about it.
    pub past: Past,
}

/// Inspects an image that somebody names, as a worker in `own` would. It changes nothing.
///
/// # Errors
/// Returns the call that failed.
pub(crate) async fn look_at_image(
    settings: JudgingSettings,
    sdk: &SdkConfig,
    own: RegistryId,
    named: &ImageReference,
    reader: &Reader<EcrRegistry>,
) -> Result<NamedImage, LiveError> {
    let shutdown = Shutdown::default();
    let records = record_settings(settings.records, &settings.restore);
    let client = Client::new(sdk, settings.aws, None)?;
    let now = client.clock.now();
    let surroundings =
        Surroundings::of_command(settings.policy, records, own.clone(), shutdown, &client);
    let RegistryId { account, region } = named.registry.clone().unwrap_or_else(|| own.clone());
    let repository = Repository { account, region, name: named.repository.clone() };
    let registry = EcrRegistry::new(client.aws, own, UntagBy::TagAndDigest);
    let Reading { inspector, safeguards, .. } = Reading::new(&surroundings, registry);
    let (digest, tags) = match &named.image {
        TagOrDigest::Digest(digest) => (Some(digest.clone()), Vec::new()),
        TagOrDigest::Tag(tag) => (None, vec![tag.clone()]),
    };
    let policy = surroundings.policy.current();
    let request = request_about(&repository, digest, tags, &policy);
    let own = &surroundings.own;
    let live = inspect(&inspector, &safeguards, own, &request).await?;
    let mut past = match &live {
        Live::OutOfScope(_) => Past::unread(now, reader.max_hold()),
        _ => Past::read(reader, &repository, &named.image, now).await,
    };
    if matches!(&live, Live::Inspected(all) if all.iter().all(|one| matches!(one, Inspection::Absent)))
        && past.is_empty()
    {
        exists(reader, &repository).await?;
    }
    // Whoever asks about a vanished tag wants to know whether it may come back.
    if let (TagOrDigest::Tag(tag), None) = (&named.image, &past.named) {
        for digest in past.missing(tag) {
            let policy = surroundings.policy.current();
            let request = request_about(&repository, Some(digest.clone()), Vec::new(), &policy);
            let judged = inspect(&inspector, &safeguards, own, &request).await;
            let judged = match judged {
                Ok(Live::Inspected(all)) => Ok(all),
                Ok(Live::Cleared | Live::OutOfScope(_)) => Ok(Vec::new()),
                Err(failure) => Err(format!("{failure}{}", failure.advice())),
            };
            past.today.push(Today { digest, judged });
        }
    }
    Ok(NamedImage { repository, live, past })
}

/// Checks that a repository exists in which nothing was found. If the repositories cannot be
/// listed, it is not known that it does not.
async fn exists(reader: &Reader<EcrRegistry>, repository: &Repository) -> Result<(), LiveError> {
    let registry_id = repository.registry_id();
    let Ok(covered) = reader.covered(&registry_id).await else { return Ok(()) };
    if covered.contains(repository) {
        return Ok(());
    }
    let names = covered.iter().map(|repository| repository.name.as_str());
    let meant = did_you_mean(closest(repository.name.as_str(), names));
    Err(LiveError::NotChosen(format!(
        "there is no repository {} in {} {}; is it the right account and Region?{meant}",
        repository.name, registry_id.account, registry_id.region
    )))
}

/// Returns the request to inspect an image, or what has these tags, without an event.
fn request_about(
    repository: &Repository,
    digest: Option<Digest>,
    tags: Vec<Tag>,
    policy: &Arc<PolicyVersion>,
) -> Request {
    Request {
        repository: repository.clone(),
        digest,
        tags,
        claim: Claim::Nothing,
        origin: Origin {
            id: None,
            source: "tagwarden".to_owned(),
            detail_type: "explain".to_owned(),
            time: None,
            at: None,
        },
        event_id: String::new(),
        message_id: None,
        freshness: Freshness::now(None),
        attempt: Attempt::ONLY,
        urgency: Urgency::Immediate,
        only: None,
        policy: Arc::clone(policy),
    }
}

/// The result of trying every permission.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Every permission that was tried.
    pub tried: Vec<Tried>,
    /// The account and the Region of the queue, and the keys that encrypt the queue and the topics.
    pub place: iam::Place,
    /// What lifecycle policies may expire.
    pub lifecycle: Lifecycle,
}

/// The most repositories whose lifecycle policies are read, because it is a call for each.
const MAX_LIFECYCLES: usize = 200;

/// Tries every permission that these settings need, by calls that change nothing. Without a queue
/// none of the queue's is tried.
///
/// # Errors
/// Returns an error if nothing can be tried at all.
pub(crate) async fn try_permissions(
    settings: &JudgingSettings,
    sdk: &SdkConfig,
) -> Result<Trial, LiveError> {
    let Client { aws, clock, .. } = Client::new(sdk, settings.aws.clone(), None)?;
    let mut trial = match &settings.queue {
        Some(queue) => {
            let (url, visibility) = (queue.url.clone(), queue.visibility_timeout);
            let patience = time_for_work(settings.grace);
            let region = sdk.region().and_then(|region| Region::parse(region.as_ref()).ok());
            let own = queue.registry_id(region.as_ref());
            let place = iam::Place { own, queue: queue.name(), ..iam::Place::default() };
            try_queue(SqsQueue::new(aws.clone(), url, visibility, patience, clock), place).await?
        }
        None => Trial::default(),
    };
    for settings in &settings.notify.topics {
        let topic = SnsNotifier::new(aws.clone(), settings.arn.clone(), &settings.region);
        trial.tried.extend(topic.try_permissions().await);
        if let Ok(key) = topic.customer_key().await {
            trial.place.topic_keys.insert(settings.arn.clone(), key.into());
        }
    }
    let own = match trial.place.own.clone() {
        Some(own) => own,
        None => identity::caller(&aws).await?,
    };
    trial.place.own = Some(own.clone());
    let registry = EcrRegistry::new(aws, own.clone(), settings.untag_by);
    let mut refusing = None;
    for (repository, mode) in samples(&settings.policy, &own) {
        // The same role would be refused again.
        if refusing.as_ref() == Some(&repository.account) {
            continue;
        }
        let restore = &settings.restore;
        let uses = Uses {
            enforces: mode == Mode::Enforce,
            restores: !restore.senders.is_empty() || !restore.hold_senders.is_empty(),
            records: settings.records == Records::Required,
            rescans: settings.sweep.rescan_after.is_some(),
        };
        let tried = registry::try_permissions(&registry, &repository, uses).await;
        if tried.iter().any(|tried| tried.action == "sts:AssumeRole") {
            refusing = Some(repository.account);
        }
        trial.tried.extend(tried);
    }
    if settings.records == Records::Required {
        trial.lifecycle = lifecycle(&registry, &settings.policy, &own, refusing.as_ref()).await;
    }
    Ok(trial)
}

/// Reads the lifecycle policies of the repositories that the policy covers, but for those of an
/// account whose role is refused. If a call fails, the permission that it needs was tried before.
async fn lifecycle(
    registry: &EcrRegistry,
    policy: &Policy,
    own: &RegistryId,
    refusing: Option<&AccountId>,
) -> Lifecycle {
    let mut read = Lifecycle::default();
    let mut left = MAX_LIFECYCLES;
    for RegistryId { account, region } in policy.registries(own) {
        if refusing == Some(&account) {
            continue;
        }
        let id = RegistryId { account: account.clone(), region: region.clone() };
        let Ok(names) = registry.repositories(&id).await else { continue };
        let all = names.into_iter().map(|name| Repository {
            account: account.clone(),
            region: region.clone(),
            name,
        });
        for repository in all.filter(|one| policy.check_scope(one, own).is_ok()) {
            if left == 0 {
                read.unread += 1;
                continue;
            }
            left -= 1;
            match registry::expiring_rules(registry, &repository).await {
                Ok(rules) => {
                    read.rules.extend(rules.into_iter().map(|rule| (repository.clone(), rule)));
                }
                Err(_) => read.unread += 1,
            }
        }
    }
    read
}

/// Tries the permissions of the queue, and asks for what the others depend on. `place` is what the
/// settings say of it.
async fn try_queue(queue: SqsQueue, mut place: iam::Place) -> Result<Trial, LiveError> {
    match queue.info().await {
        Ok(info) => place.own = Some(info.registry_id),
        // Every other call would fail in the same way, each after its own timeout.
        Err(error) if error.is_hopeless() => return Err(error.into()),
        Err(_) => {}
    }
    let tried = queue.try_permissions().await;
    place.queue_key = queue.customer_key().await.map(Into::into).unwrap_or_default();
    Ok(Trial { tried, place, ..Trial::default() })
}

/// Returns a repository for every account, Region and pattern that the policy names. It need not
/// exist, because AWS checks the permission before it looks for the repository.
fn samples(policy: &Policy, own: &RegistryId) -> Vec<(Repository, Mode)> {
    let names = scope::examples(policy).into_iter();
    let names: Vec<_> = names.filter_map(|name| RepositoryName::parse(name).ok()).collect();
    let mut samples = Vec::new();
    for RegistryId { account, region } in policy.registries(own) {
        let repositories = names.iter().map(|name| Repository {
            account: account.clone(),
            region: region.clone(),
            name: name.clone(),
        });
        let covered = repositories.filter(|one| policy.check_scope(one, own).is_ok());
        samples.extend(covered.map(|one| {
            let mode = policy.terms(&one).1.mode;
            (one, mode)
        }));
    }
    samples
}
