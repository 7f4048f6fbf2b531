//! Looking at AWS for a person at a terminal: `tagwarden explain --live` and `tagwarden check --live`.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use tokio::time::Instant;

use super::{RunError, instruments};
use crate::aws::{Aws, AwsError, ErrorClass, Tried};
use crate::check::{iam, reach};
use crate::clock::Clock;
use crate::config::{JudgingSettings, LimitSettings, Settings, UntagBy};
use crate::domain::image::{AccountId, Home, Region, Repository, RepositoryName};
use crate::domain::policy::{Mode, Policy};
use crate::event::ImageEvent;
use crate::health::Health;
use crate::notify::sns::SnsNotifier;
use crate::queue::sqs::SqsQueue;
use crate::queue::{Message, Queue as _, ReceiptHandle};
use crate::registry::ecr::EcrRegistry;
use crate::shutdown::{Shutdown, time_for_work};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::traces::Delivery;
use crate::worker::assess::{Assessor, Context, Job};
use crate::worker::look::Look;
use crate::worker::outcome::Failure;

/// Why AWS cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The worker's parts cannot be built.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A call failed.
    #[error("{error}{}", remedy(error))]
    Failed {
        /// How.
        error: AwsError,
    },
    /// The image cannot be looked at.
    #[error("{0}")]
    Other(String),
}

impl From<Failure> for LookError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) | Failure::Transient(error) | Failure::Rejected(error) => {
                Self::Failed { error }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// What the person at the terminal does about an error.
fn remedy(error: &AwsError) -> &'static str {
    match error.class {
        ErrorClass::Credentials => {
            "; set the standard AWS credential variables or AWS_PROFILE, or log in again"
        }
        ErrorClass::Refused => "; the policy that `tagwarden check` prints allows what is needed",
        ErrorClass::Timeout | ErrorClass::Connection => {
            "; look at the network, AWS_REGION and AWS_ENDPOINT_URL"
        }
        ErrorClass::Throttled | ErrorClass::Unavailable => "; try again",
        ErrorClass::Rejected => "",
    }
}

/// Looks at what an event is about, as a worker that lives at `own` would. Nothing is changed.
///
/// # Errors
/// The call that failed.
pub async fn look(
    settings: JudgingSettings,
    sdk: &SdkConfig,
    own: Home,
    event: &ImageEvent,
) -> Result<Look, LookError> {
    if sdk.region().is_none() {
        return Err(RunError::NoRegion.into());
    }
    let instruments = Arc::new(instruments(&settings.policy, None).map_err(RunError::from)?);
    let aws = Aws::new(sdk, settings.aws, Arc::clone(&instruments));
    let clock = Aws::clock_of(sdk).ok_or(RunError::NoRegion)?;
    let registry = EcrRegistry::new(aws, own.clone(), UntagBy::TagAndDigest);
    let context = context(settings.policy, own, clock, instruments);
    let assessor: Assessor<_, SnsNotifier> = Assessor::new(context, registry, Vec::new());
    let message = no_message();
    let job = Job { message: &message, event, canary: false, at_once: true };
    Ok(assessor.look(job).await?)
}

/// What an assessor needs that no worker stands behind.
pub(super) fn context(
    policy: Policy,
    own: Home,
    clock: Clock,
    instruments: Arc<Instruments>,
) -> Context {
    Context {
        policy,
        limits: LimitSettings::default(),
        own,
        max_receive_count: None,
        health: Arc::new(Health::new(Duration::MAX, Arc::clone(&instruments))),
        shutdown: Shutdown::default(),
        clock,
        instruments,
    }
}

/// The message of a job that no message led to.
pub(super) fn no_message() -> Message {
    let now = Instant::now();
    Message {
        id: String::new(),
        receipt: ReceiptHandle(String::new()),
        body: String::new(),
        receive_count: 1,
        sent_at: None,
        leased_from: now,
        received_at: now,
        delivery: Delivery::default(),
    }
}

/// What trying every permission came to.
#[derive(Debug, Default)]
pub struct Trial {
    /// Each permission that was tried.
    pub tried: Vec<Tried>,
    /// Where the queue turned out to be, and what queue and topics are encrypted with.
    pub place: iam::Place,
}

/// Tries every permission that these settings need, by calls that change nothing.
///
/// # Errors
/// Where nothing can be tried at all.
pub async fn try_permissions(settings: &Settings, sdk: &SdkConfig) -> Result<Trial, LookError> {
    if sdk.region().is_none() {
        return Err(RunError::NoRegion.into());
    }
    let instruments = Arc::new(instruments(&settings.policy, None).map_err(RunError::from)?);
    let aws = Aws::new(sdk, settings.aws.clone(), instruments);
    let (url, visibility) = (settings.queue.url.clone(), settings.queue.visibility_timeout);
    let clock = Aws::clock_of(sdk).ok_or(RunError::NoRegion)?;
    let patience = time_for_work(settings.grace);
    let queue = SqsQueue::new(aws.clone(), url, visibility, patience, clock);
    let own = match queue.info().await {
        Ok(info) => Some(info.home),
        // Every other call would come to the same, each after its own time.
        Err(error) if is_hopeless(&error) => return Err(LookError::Failed { error }),
        Err(_) => {
            let region = sdk.region().and_then(|region| Region::parse(region.as_ref()).ok());
            settings.queue.home(region.as_ref())
        }
    };
    let mut trial = Trial {
        tried: queue.try_permissions().await,
        place: iam::Place {
            own,
            queue: settings.queue.name(),
            queue_key: queue.customer_key().await.ok(),
            ..iam::Place::default()
        },
    };
    for settings in &settings.notify.topics {
        let topic = SnsNotifier::new(aws.clone(), settings.arn.clone(), &settings.region);
        trial.tried.extend(topic.try_permissions().await);
        if let Ok(key) = topic.customer_key().await {
            trial.place.topic_keys.insert(settings.arn.clone(), key);
        }
    }
    let own = trial.place.own.clone().or_else(|| {
        // Nothing says whose the queue is. The first topic's account is the likeliest.
        let topic = settings.notify.topics.first()?;
        let account = topic.arn.split(':').nth(4)?;
        let account = AccountId::parse(account).ok()?;
        Some(Home { account, region: topic.region.clone() })
    });
    if let Some(own) = own {
        let registry = EcrRegistry::new(aws, own.clone(), settings.untag_by);
        let mut refusing = None;
        for (repository, mode) in samples(&settings.policy, &own) {
            // The same role would be refused again.
            if refusing.as_ref() == Some(&repository.account) {
                continue;
            }
            let (enforce, rescan) = (mode == Mode::Enforce, settings.sweep.rescan_after.is_some());
            let tried = registry.try_permissions(&repository, enforce, rescan).await;
            if tried.iter().any(|tried| tried.action == "sts:AssumeRole") {
                refusing = Some(repository.account);
            }
            trial.tried.extend(tried);
        }
    }
    Ok(trial)
}

/// Whether every other call would come to the same, each after its own time.
pub(super) fn is_hopeless(error: &AwsError) -> bool {
    matches!(error.class, ErrorClass::Credentials | ErrorClass::Timeout | ErrorClass::Connection)
}

/// A repository of every account, Region and pattern that the policy names, which need not exist: permission is asked
/// for before existence.
fn samples(policy: &Policy, own: &Home) -> Vec<(Repository, Mode)> {
    let names = reach::examples(policy).into_iter();
    let names: Vec<_> = names.filter_map(|name| RepositoryName::parse(name).ok()).collect();
    let mut samples = Vec::new();
    for Home { account, region } in policy.registries(own) {
        let repositories = names.iter().map(|name| Repository {
            account: account.clone(),
            region: region.clone(),
            name: name.clone(),
        });
        let covered = repositories.filter(|one| policy.reach(one, own).is_ok());
        samples.extend(covered.map(|one| {
            let mode = policy.terms(&one.name).1.mode;
            (one, mode)
        }));
    }
    samples
}
