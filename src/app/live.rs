//! Looking at AWS for a person at a terminal: `tagwarden explain --live` and `tagwarden check --live`.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use tokio::time::Instant;

use super::{RunError, instruments};
use crate::aws::{Aws, Tried};
use crate::config::{JudgingSettings, LimitSettings, Settings, UntagBy};
use crate::domain::image::{Home, Repository, RepositoryName};
use crate::domain::policy::{Mode, Policy};
use crate::event::ImageEvent;
use crate::health::Health;
use crate::notify::sns::SnsNotifier;
use crate::queue::sqs::SqsQueue;
use crate::queue::{Message, Queue as _, ReceiptHandle};
use crate::registry::ecr::EcrRegistry;
use crate::shutdown::Shutdown;
use crate::worker::assess::{Assessor, Context, Job};
use crate::worker::look::Look;

/// Why AWS cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The worker's parts cannot be built.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A call failed.
    #[error("{0}")]
    Failed(String),
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
    let instruments = Arc::new(instruments(&settings.policy).map_err(RunError::from)?);
    let aws = Aws::new(sdk, settings.aws, Arc::clone(&instruments));
    let clock = aws.clock().ok_or(RunError::NoRegion)?;
    let registry = EcrRegistry::new(aws, own.clone(), UntagBy::TagAndDigest);
    let context = Context {
        policy: settings.policy,
        limits: LimitSettings::default(),
        own,
        max_receive_count: None,
        health: Arc::new(Health::new(Duration::MAX, Arc::clone(&instruments))),
        shutdown: Shutdown::default(),
        clock,
        instruments,
    };
    let assessor: Assessor<_, SnsNotifier> = Assessor::new(context, registry, Vec::new());
    let now = Instant::now();
    let message = Message {
        id: String::new(),
        receipt: ReceiptHandle(String::new()),
        body: String::new(),
        receive_count: 1,
        sent_at: None,
        leased_from: now,
        received_at: now,
    };
    let job = Job { message: &message, event, canary: false, at_once: true };
    assessor.look(job).await.map_err(|failure| LookError::Failed(failure.to_string()))
}

/// What trying every permission came to.
#[derive(Debug, Default)]
pub struct Trial {
    /// Each permission that was tried.
    pub tried: Vec<Tried>,
    /// Where the queue turned out to be.
    pub own: Option<Home>,
    /// Whether the queue is encrypted with a key of the customer's, where that could be read.
    pub queue_key: Option<bool>,
    /// Whether any topic is, where that could be read.
    pub topic_key: Option<bool>,
}

/// Tries every permission that these settings need, by calls that change nothing.
///
/// # Errors
/// Where nothing can be tried at all.
pub async fn try_permissions(settings: &Settings, sdk: &SdkConfig) -> Result<Trial, LookError> {
    if sdk.region().is_none() {
        return Err(RunError::NoRegion.into());
    }
    let instruments = Arc::new(instruments(&settings.policy).map_err(RunError::from)?);
    let aws = Aws::new(sdk, settings.aws.clone(), instruments);
    let (url, visibility) = (settings.queue.url.clone(), settings.queue.visibility_timeout);
    let queue = SqsQueue::new(aws.clone(), url, visibility);
    let mut trial = Trial {
        tried: queue.try_permissions().await,
        own: queue.info().await.ok().map(|info| info.home),
        queue_key: queue.customer_key().await.ok().map(|key| key.is_some()),
        topic_key: None,
    };
    for topic in &settings.notify.topics {
        let topic = SnsNotifier::new(aws.clone(), topic.arn.clone(), &topic.region);
        trial.tried.extend(topic.try_permissions().await);
        if let Ok(key) = topic.customer_key().await {
            trial.topic_key = Some(trial.topic_key.unwrap_or(false) || key.is_some());
        }
    }
    if let Some(own) = &trial.own {
        let registry = EcrRegistry::new(aws, own.clone(), settings.untag_by);
        for (repository, mode) in samples(&settings.policy, own) {
            let enforce = mode == Mode::Enforce;
            trial.tried.extend(registry.try_permissions(&repository, enforce).await);
        }
    }
    Ok(trial)
}

/// A repository of every account, Region and pattern that the policy names, which need not exist: permission is asked
/// for before existence.
fn samples(policy: &Policy, own: &Home) -> Vec<(Repository, Mode)> {
    let name = |pattern: &str| {
        let name = pattern.replace("**", "*").replace('*', "tagwarden-check").replace('?', "x");
        RepositoryName::parse(name).ok()
    };
    let mut names: Vec<_> =
        policy.include.patterns().iter().filter_map(|pattern| name(pattern)).collect();
    if policy.include.is_empty() {
        names.extend(name("tagwarden-check"));
        let rules = policy.rules.iter().flat_map(|rule| rule.repositories.patterns());
        names.extend(rules.filter_map(|pattern| name(pattern)));
    }
    let accounts = policy.accounts.clone().unwrap_or_else(|| [own.account.clone()].into());
    let regions = policy.regions.clone().unwrap_or_else(|| [own.region.clone()].into());
    let mut samples = Vec::new();
    for account in &accounts {
        for region in &regions {
            samples.extend(names.iter().map(|name| {
                let (account, region) = (account.clone(), region.clone());
                let mode = policy.terms(name).1.mode;
                (Repository { account, region, name: name.clone() }, mode)
            }));
        }
    }
    samples
}
