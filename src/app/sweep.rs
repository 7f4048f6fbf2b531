//! Builds and runs a sweep by hand: `tagwarden sweep`.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::Signals;
use super::live::LiveError;
use super::start::usable_topics;
use super::wiring::{Client, Reading, Surroundings, dispatcher};
use crate::config::{JudgingSettings, Settings};
use crate::domain::names::RegistryId;
use crate::enforce::LimitSettings;
use crate::inspect::CallPace;
use crate::notify::SnsNotifier;
use crate::registry::{EcrRegistry, UntagBy};
use crate::shutdown::Shutdown;
use crate::sweep::{Advance, Document, ManualSweep, Parts, Scope};

/// The scope and the mode of a sweep.
#[derive(Debug)]
pub struct Order {
    /// The settings that are needed to judge images.
    pub judging: JudgingSettings,
    /// The worker's own account and Region.
    pub own: RegistryId,
    /// The settings that are needed to act. `None` means that nothing is changed.
    pub acting: Option<Settings>,
    /// What is swept.
    pub scope: Scope,
}

/// Sweeps until everything is inspected and done. At a signal, the image in hand is the last.
///
/// # Errors
/// Returns an error if nothing can be inspected, and at a second signal.
pub async fn sweep(
    order: Order,
    sdk: &SdkConfig,
    mut signals: Signals,
    on: &mut (dyn FnMut(Advance<'_>) + Send),
) -> Result<Document, LiveError> {
    let shutdown = Shutdown::default();
    let sweep = build(order, sdk, shutdown.clone()).await?;
    tokio::select! {
        biased;
        _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
        result = sweep.run(on) => Ok(result?),
    }
}

async fn build(
    order: Order,
    sdk: &SdkConfig,
    shutdown: Shutdown,
) -> Result<ManualSweep<EcrRegistry, SnsNotifier>, LiveError> {
    let Order { judging, own, acting, scope } = order;
    let client = Client::new(sdk, judging.aws, &judging.policy, None)?;
    let topics = match &acting {
        Some(settings) => usable_topics(&client.aws, &settings.notify.topics).await?,
        None => Vec::new(),
    };
    let limits = acting.as_ref().map_or_else(LimitSettings::default, |acting| acting.limits);
    let untag_by = acting.map_or(UntagBy::TagAndDigest, |acting| acting.untag_by);
    let now = client.clock.now();
    let surroundings = Surroundings::of_command(judging.policy, own.clone(), shutdown, &client);
    let registry = EcrRegistry::new(client.aws, own, untag_by);
    let reading = Reading::new(&surroundings, registry);
    let dispatcher = dispatcher(&surroundings, topics);
    let parts = Parts {
        inventory: reading.inventory(&surroundings),
        assessor: reading.assessor(&surroundings, &dispatcher, limits),
        policy: Arc::clone(&surroundings.policy),
        own: surroundings.own.clone(),
        health: surroundings.health,
        shutdown: surroundings.shutdown,
        pace: CallPace::new(judging.sweep.calls_per_second),
    };
    Ok(ManualSweep::new(parts, scope, now)?)
}
