//! Read-only commands against AWS: `tagwarden explain --live` judges an image by what ECR shows
//! now, and `tagwarden check --live` tries every permission. They use the worker's own parts, so
//! that their answers are those of the worker, but no queue delivers anything to them. No call here
//! changes anything.

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

/// A reason why AWS could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The worker's parts cannot be built.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A call failed.
    #[error("{error}{}", remedy(error))]
    Failed {
        /// The error of the call.
        error: AwsError,
    },
    /// The image cannot be inspected.
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

/// Returns advice about an error for the person at the terminal.
fn remedy(error: &AwsError) -> &'static str {
    match error.class {
        ErrorClass::Credentials => {
            "; set the standard AWS credential variables or AWS_PROFILE, or log in again"
        }
        ErrorClass::Refused => "; `tagwarden check` prints the IAM policy that is needed",
        ErrorClass::Timeout | ErrorClass::Connection => {
            "; check the network, AWS_REGION and AWS_ENDPOINT_URL"
        }
        ErrorClass::Throttled | ErrorClass::Unavailable => "; try again",
        ErrorClass::Rejected => "",
    }
}

/// Inspects the image that an event is about, as a worker in `own` would. It changes nothing.
///
/// # Errors
/// Returns the call that failed.
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

/// Returns the context of an assessor that no running worker uses.
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

/// Returns a message for a job that did not come from the queue. Nothing ever settles it.
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

/// The result of trying every permission.
#[derive(Debug, Default)]
pub struct Trial {
    /// Every permission that was tried.
    pub tried: Vec<Tried>,
    /// The account and the Region of the queue, and the keys that encrypt the queue and the topics.
    pub place: iam::Place,
}

/// Tries every permission that these settings need, by calls that change nothing.
///
/// # Errors
/// Returns an error if nothing can be tried at all.
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
        // Every other call would fail in the same way, each after its own timeout.
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
        // The account of the queue is not known. The account of the first topic is the most likely
        // one.
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

/// Returns whether every other call would fail in the same way, each after its own timeout.
pub(super) fn is_hopeless(error: &AwsError) -> bool {
    matches!(error.class, ErrorClass::Credentials | ErrorClass::Timeout | ErrorClass::Connection)
}

/// Returns a repository for every account, Region and pattern that the policy names. It need not
/// exist, because AWS checks the permission before it looks for the repository.
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
