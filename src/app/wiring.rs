//! Builds the parts, once for the worker and for every command that judges images.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;

use super::error::RunError;
use crate::assess::{Assessor, Stages};
use crate::aws::{self, Aws, AwsSettings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::names::{Region, RegistryId};
use crate::domain::policy::Policy;
use crate::enforce::{self, Enforcer, LimitSettings};
use crate::health::Health;
use crate::in_use::PolicyInUse;
use crate::inspect::{
    self, EcrCalls, Evaluator, Holds, Inspector, RecordSettings, RecordStore, Replicas, Safeguards,
};
use crate::notify::{Dispatcher, Notifier, Topic, WayBack};
use crate::registry::{Records, Registry};
use crate::restore::{self, RestoreSettings, Restorer, RestorerParts};
use crate::shutdown::Shutdown;
use crate::sweep::Inventory;
use crate::telemetry::export::MetricExport;
use crate::telemetry::instruments::{Instruments, MetricsError};
use crate::worker;

/// The means to call AWS.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) aws: Aws,
    pub(super) clock: Clock,
    pub(super) instruments: Arc<Instruments>,
}

impl Client {
    /// Builds the client and the metrics; makes no call.
    ///
    /// # Errors
    /// [`RunError`] if the environment lacks what every call needs.
    pub(super) fn new(
        sdk: &SdkConfig,
        settings: AwsSettings,
        export: Option<MetricExport>,
    ) -> Result<Self, RunError> {
        // An empty AWS_REGION is a Region to the SDK.
        let region = sdk.region().and_then(|region| Region::parse(region.as_ref()).ok());
        let (Some(_), Some(clock)) = (region, Aws::clock_of(sdk)) else {
            return Err(RunError::NoRegion);
        };
        let instruments = Arc::new(instruments(export)?);
        let aws = Aws::new(sdk, settings, Arc::clone(&instruments));
        Ok(Self { aws, clock, instruments })
    }
}

/// What every part knows of the process and the policy.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) policy: PolicyInUse,
    pub(super) records: RecordSettings,
    pub(super) own: RegistryId,
    pub(super) health: Arc<Health>,
    pub(super) shutdown: Shutdown,
    pub(super) clock: Clock,
    pub(super) instruments: Arc<Instruments>,
}

impl Surroundings {
    /// Those of a command, which polls no queue.
    pub(super) fn of_command(
        policy: Policy,
        records: RecordSettings,
        own: RegistryId,
        shutdown: Shutdown,
        client: &Client,
    ) -> Self {
        let instruments = Arc::clone(&client.instruments);
        Self {
            policy: PolicyInUse::new(policy),
            records,
            own,
            health: Arc::new(Health::new(Duration::MAX, Arc::clone(&instruments))),
            shutdown,
            clock: client.clock.clone(),
            instruments,
        }
    }
}

/// The parts that read and judge.
#[derive(Debug)]
pub(super) struct Reading<R> {
    pub(super) ecr: Arc<EcrCalls<R>>,
    pub(super) inspector: Arc<Inspector<R>>,
    pub(super) safeguards: Arc<Safeguards<R>>,
    replicas: Arc<Replicas<R>>,
    records: Arc<RecordStore<R>>,
    holds: Arc<Holds<R>>,
}

/// Returns how records are kept, by the settings.
pub(super) fn record_settings(records: Records, restore: &RestoreSettings) -> RecordSettings {
    let RestoreSettings { keys, senders, hold_senders, max_hold } = restore;
    let holds = !hold_senders.is_empty();
    let takes_requests = keys.is_some() && (holds || !senders.is_empty());
    RecordSettings {
        is_required: records == Records::Required,
        keys: keys.clone(),
        max_hold: *max_hold,
        way_back: match takes_requests {
            true => WayBack::Restore { longest_hold: holds.then_some(*max_hold) },
            false => WayBack::ByHand,
        },
    }
}

impl<R: Registry> Reading<R> {
    pub(super) fn new(of: &Surroundings, registry: R) -> Self {
        let (health, shutdown) = (Arc::clone(&of.health), of.shutdown.clone());
        let ecr = Arc::new(EcrCalls::new(registry, of.own.clone(), health, shutdown.clone()));
        let evaluator = Arc::new(Evaluator::new(
            Arc::clone(&ecr),
            of.clock.clone(),
            shutdown.clone(),
            Arc::clone(&of.instruments),
        ));
        let inspector = Arc::new(Inspector::new(evaluator));
        let replicas = Arc::new(Replicas::new(Arc::clone(&ecr), shutdown));
        let records = Arc::new(RecordStore::new(Arc::clone(&ecr), of.records.clone()));
        let holds = Arc::new(Holds::new(Arc::clone(&records), of.clock.clone()));
        let safeguards = Arc::new(Safeguards::new(
            Arc::clone(&ecr),
            Arc::clone(&inspector),
            Arc::clone(&replicas),
            Arc::clone(&holds),
        ));
        Self { ecr, inspector, safeguards, replicas, records, holds }
    }

    /// Returns what carries out requests to restore images.
    pub(super) fn restorer<N: Notifier>(
        &self,
        of: &Surroundings,
        assessor: &Arc<Assessor<R, N>>,
        dispatcher: &Arc<Dispatcher<N>>,
        (aws, settings): (&Aws, &Settings),
    ) -> Restorer<R, N> {
        let parts = RestorerParts {
            assessor: Arc::clone(assessor),
            inspector: Arc::clone(&self.inspector),
            safeguards: Arc::clone(&self.safeguards),
            ecr: Arc::clone(&self.ecr),
            records: Arc::clone(&self.records),
            dispatcher: Arc::clone(dispatcher),
            policy: of.policy.clone(),
            aws: aws.clone(),
            visibility: settings.queue.visibility_timeout,
            clock: of.clock.clone(),
            instruments: Arc::clone(&of.instruments),
        };
        Restorer::new(parts, &settings.restore)
    }

    pub(super) fn inventory(&self, of: &Surroundings) -> Inventory<R> {
        Inventory::new(
            Arc::clone(&self.ecr),
            Arc::clone(&self.inspector),
            Arc::clone(&self.safeguards),
            of.own.clone(),
            of.shutdown.clone(),
        )
    }

    pub(super) fn assessor<N: Notifier>(
        &self,
        of: &Surroundings,
        dispatcher: &Arc<Dispatcher<N>>,
        limits: LimitSettings,
    ) -> Assessor<R, N> {
        let shared = enforce::EnforcerParts {
            ecr: Arc::clone(&self.ecr),
            replicas: Arc::clone(&self.replicas),
            records: Arc::clone(&self.records),
            holds: Arc::clone(&self.holds),
            dispatcher: Arc::clone(dispatcher),
            health: Arc::clone(&of.health),
            clock: of.clock.clone(),
            instruments: Arc::clone(&of.instruments),
        };
        Assessor::new(Stages {
            inspector: Arc::clone(&self.inspector),
            safeguards: Arc::clone(&self.safeguards),
            enforcer: Enforcer::new(shared, limits),
            dispatcher: Arc::clone(dispatcher),
            own: of.own.clone(),
            clock: of.clock.clone(),
            instruments: Arc::clone(&of.instruments),
        })
    }
}

/// Returns the dispatcher of a worker, whose notices name its queue.
pub(super) fn dispatcher<N: Notifier>(
    of: &Surroundings,
    topics: Vec<Topic<N>>,
    queue: String,
) -> Arc<Dispatcher<N>> {
    let (health, shutdown) = (Arc::clone(&of.health), of.shutdown.clone());
    let dispatcher = Dispatcher::new(topics, health, shutdown, Arc::clone(&of.instruments));
    Arc::new(dispatcher.asked_by(queue))
}

/// Returns the dispatcher of a command, behind which a person waits.
pub(super) fn dispatcher_of_command<N: Notifier>(
    of: &Surroundings,
    topics: Vec<Topic<N>>,
) -> Arc<Dispatcher<N>> {
    let (health, shutdown) = (Arc::clone(&of.health), of.shutdown.clone());
    let instruments = Arc::clone(&of.instruments);
    Arc::new(Dispatcher::new(topics, health, shutdown, instruments).giving_up())
}

/// Builds the metrics, with every combination of labels at zero.
fn instruments(export: Option<MetricExport>) -> Result<Instruments, MetricsError> {
    let instruments = Instruments::exporting(export)?;
    aws::declare(&instruments);
    inspect::declare(&instruments);
    enforce::declare(&instruments);
    restore::declare(&instruments);
    worker::declare(&instruments);
    Ok(instruments)
}
