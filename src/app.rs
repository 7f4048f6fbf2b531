//! The composition root: builds every part of the worker once, owns every task, listens for
//! signals, and orders start and stop.
//!
//! The start binds the port first, so that health checks are answered while `start` checks the
//! queue and the topics. The worker receives nothing before these checks have passed.
//!
//! Invariant 12: SIGTERM ends the process within its grace period. The first signal drains: nothing
//! new is received, and work in hand goes on. `App::drain` counts the grace period down in steps:
//! unfinished work is abandoned, then receives that nobody answers are given up, and at last `work`
//! returns an error. The rest of the grace period, a tenth of it and at most two seconds, flushes
//! telemetry, so that a collector which does not answer cannot hold up the end. A second signal
//! ends the process at once: messages in hand become visible when their timeout passes, and a
//! redelivery finishes the work.

mod error;
mod exception_watch;
mod identity;
pub(crate) mod live;
pub(crate) mod quarantined;
pub(crate) mod restore;
mod start;
pub(crate) mod sweep;
mod topics;
mod watch;
mod wiring;

use std::sync::Arc;
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, SdkConfig};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use self::error::RunError;
use self::watch::{Watch, WatchParts};
use self::wiring::{Client, Reading, Surroundings, dispatcher, record_settings};
use crate::aws::{Aws, Operation};
use crate::clock::Clock;
use crate::config::{Settings, WatchedFile};
use crate::domain::names::Region;
use crate::health::Health;
use crate::http;
use crate::in_use::PolicyInUse;
use crate::notify::SnsNotifier;
use crate::notify::Topic;
use crate::queue::Settler;
use crate::queue::SqsQueue;
use crate::queue::{Batcher, Queue as _, QueueInfo, send_batches};
use crate::registry::EcrRegistry;
use crate::shutdown::{Shutdown, time_for_receives, time_for_work, time_to_flush};
use crate::sweep::{self as sweeps, Coordinator};
use crate::telemetry::export::Export;
use crate::telemetry::instruments::Instruments;
use crate::worker::{self, Poller};

/// The time that the polling loop may take beyond its longest wait before it counts as hung: a
/// receive's own timeout, the longest pause after a failed receive, and a margin.
const LIVENESS_SLACK: Duration = Duration::from_secs(55);

/// Loads the configuration of the AWS SDK from the environment.
pub async fn aws_from_environment() -> SdkConfig {
    aws_in_region(None).await
}

/// Loads the configuration of the AWS SDK from the environment, for this Region if one is given.
pub async fn aws_in_region(region: Option<&Region>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(aws_config::Region::new(region.as_str().to_owned()));
    }
    if let Ok(name) = AppName::new("tagwarden") {
        loader = loader.app_name(name);
    }
    loader.load().await
}

/// The worker, built but not started.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    aws: Aws,
    clock: Clock,
    health: Arc<Health>,
    instruments: Arc<Instruments>,
    queue: Arc<SqsQueue>,
    policy: PolicyInUse,
    /// The configuration file to watch, until the work begins.
    watched: Mutex<Option<WatchedFile>>,
}

impl App {
    /// Builds the worker, and makes no call.
    ///
    /// # Errors
    /// Returns an error if the environment lacks what every call needs.
    pub fn new(settings: Settings, sdk: &SdkConfig) -> Result<Self, RunError> {
        Self::exporting(settings, sdk, &mut Export::default())
    }

    /// Builds the worker, and exports its metrics if `export` asks for that.
    ///
    /// # Errors
    /// Returns an error if the environment lacks what every call needs.
    pub fn exporting(
        settings: Settings,
        sdk: &SdkConfig,
        export: &mut Export,
    ) -> Result<Self, RunError> {
        if sdk.region().is_none_or(|region| Region::parse(region.as_ref()).is_err()) {
            return Err(RunError::NoRegion);
        }
        let client = Client::new(sdk, settings.aws.clone(), export.take_metrics())?;
        let Client { aws, clock, instruments } = client;
        let policy = PolicyInUse::new(settings.policy.clone());
        instruments.uses(&policy.current());
        let queue = SqsQueue::new(
            aws.clone(),
            settings.queue.url.clone(),
            settings.queue.visibility_timeout,
            time_for_work(settings.grace),
            clock.clone(),
        );
        let limit = queue.wait().saturating_add(LIVENESS_SLACK);
        Ok(Self {
            health: Arc::new(Health::new(limit, Arc::clone(&instruments))),
            queue: Arc::new(queue),
            policy,
            watched: Mutex::default(),
            settings,
            aws,
            clock,
            instruments,
        })
    }

    /// Watches the configuration file while the worker works.
    #[must_use]
    pub fn watching(self, file: Option<WatchedFile>) -> Self {
        Self { watched: Mutex::new(file), ..self }
    }

    /// Returns the HTTP routes of health and metrics.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.health), Arc::clone(&self.instruments), self.policy.clone())
    }

    /// Returns the metrics, as `/metrics` shows them.
    #[must_use]
    pub fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    /// Returns the health, as `/healthz` and `/readyz` show it.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Checks the queue and the topics, then works until the shutdown drains and every message in
    /// hand is settled.
    ///
    /// # Errors
    /// Returns an error if the worker cannot begin, cannot go on, or cannot stop within its grace
    /// period.
    pub async fn work(&self, shutdown: &Shutdown) -> Result<(), RunError> {
        let grace = self.settings.grace;
        tokio::select! {
            biased;
            result = self.check_and_poll(shutdown) => result,
            () = self.drain(shutdown) => Err(RunError::GraceExceeded(grace)),
        }
    }

    /// Counts down from the stop signal to the end of the grace period, and then returns. On the
    /// way it ends the work in hand, and later the receives that nobody answers.
    async fn drain(&self, shutdown: &Shutdown) {
        let grace = self.settings.grace;
        let (work, receives) = (time_for_work(grace), time_for_receives(grace));
        shutdown.draining().await;
        self.health.draining();
        sleep(work).await;
        shutdown.abandon();
        sleep(receives.saturating_sub(work)).await;
        shutdown.give_up_receives();
        sleep(grace.saturating_sub(receives + time_to_flush(grace))).await;
    }

    async fn check_and_poll(&self, shutdown: &Shutdown) -> Result<(), RunError> {
        let Some((info, topics)) = self.check(shutdown).await? else { return Ok(()) };
        self.health.started();
        // The queue has answered. Without this, an alert on the age of the last poll would see 1970
        // until the first long poll ends.
        self.instruments.polled(self.clock.now());
        info!(
            account = %info.registry_id.account,
            region = %info.registry_id.region,
            max_receive_count = info.max_receive_count,
            mode = self.settings.policy.base.mode.as_str(),
            policy = self.policy.current().fingerprint().as_str(),
            "ready"
        );
        let (deletes, delete_entries) = Batcher::new(Operation::DeleteMessageBatch);
        let (changes, change_entries) = Batcher::new(Operation::ChangeMessageVisibilityBatch);
        let (poller, watch) = self.poller(info, topics, shutdown, Settler { deletes, changes });
        let mut tasks = JoinSet::new();
        let queue = Arc::clone(&self.queue);
        tasks.spawn(send_batches(delete_entries, move |entries| {
            let queue = Arc::clone(&queue);
            async move { queue.delete(&entries).await }
        }));
        let queue = Arc::clone(&self.queue);
        tasks.spawn(send_batches(change_entries, move |entries| {
            let queue = Arc::clone(&queue);
            async move { queue.change_visibility(&entries).await }
        }));
        let (policy, clock) = (self.policy.clone(), self.clock.clone());
        let (instruments, stop) = (Arc::clone(&self.instruments), shutdown.clone());
        tasks.spawn(async move {
            exception_watch::watch(policy, &clock, &instruments, &stop).await;
        });
        if let Some(file) = self.watched.lock().take() {
            tasks.spawn(Watch::new(watch, file).run());
        }
        let poller = tasks.spawn(poller.run());
        while let Some(ended) = tasks.join_next_with_id().await {
            // After the poller has ended, nobody waits for calls that the batchers may still
            // make.
            if ended?.0 == poller.id() {
                break;
            }
        }
        Ok(())
    }

    fn poller(
        &self,
        info: QueueInfo,
        topics: Vec<Topic<SnsNotifier>>,
        shutdown: &Shutdown,
        settler: Settler,
    ) -> (Poller<SqsQueue, EcrRegistry, SnsNotifier>, WatchParts<EcrRegistry>) {
        let settings = &self.settings;
        let of = Surroundings {
            policy: self.policy.clone(),
            records: record_settings(settings.records, &settings.restore),
            own: info.registry_id,
            health: Arc::clone(&self.health),
            shutdown: shutdown.clone(),
            clock: self.clock.clone(),
            instruments: Arc::clone(&self.instruments),
        };
        let registry = EcrRegistry::new(self.aws.clone(), of.own.clone(), settings.untag_by);
        let reading = Reading::new(&of, registry);
        let dispatcher = dispatcher(&of, topics, settings.queue.url.clone());
        let (max_in_flight, visibility) =
            (settings.queue.max_in_flight, settings.queue.visibility_timeout);
        let sweeps = sweeps::CoordinatorParts {
            queue: Arc::clone(&self.queue),
            inventory: reading.inventory(&of),
            ecr: Arc::clone(&reading.ecr),
            dispatcher: Arc::clone(&dispatcher),
            policy: of.policy.clone(),
            own: of.own.clone(),
            visibility,
            clock: of.clock.clone(),
            shutdown: of.shutdown.clone(),
            instruments: Arc::clone(&of.instruments),
        };
        let assessor = Arc::new(reading.assessor(&of, &dispatcher, settings.limits));
        let watch = WatchParts {
            policy: of.policy.clone(),
            assessor: Arc::clone(&assessor),
            dispatcher: Arc::clone(&dispatcher),
            aws: self.aws.clone(),
            own: of.own.clone(),
            shutdown: of.shutdown.clone(),
            instruments: Arc::clone(&of.instruments),
        };
        let shared = worker::ProcessorParts {
            restorer: reading.restorer(&of, &assessor, &dispatcher, (&self.aws, settings)),
            assessor,
            coordinator: Coordinator::new(sweeps, settings.sweep, max_in_flight),
            policy: of.policy,
            settler,
            visibility,
            max_receive_count: info.max_receive_count,
            own: of.own,
            health: of.health,
            shutdown: of.shutdown,
            clock: of.clock,
            instruments: of.instruments,
        };
        (Poller::new(Arc::clone(&self.queue), shared, max_in_flight), watch)
    }
}

/// Binds the port, works until a signal comes, and stops in order.
///
/// # Errors
/// Returns the reason why the worker could not begin or did not end in order.
pub async fn run(
    settings: Settings,
    watched: Option<WatchedFile>,
    mut signals: Signals,
    sdk: &SdkConfig,
    mut export: Export,
) -> Result<(), RunError> {
    let (listen, grace) = (settings.listen, settings.grace);
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| RunError::Listen { address: listen, error })?;
    let address = listener.local_addr().unwrap_or(listen);
    let app = App::exporting(settings, sdk, &mut export)?.watching(watched);
    info!(version = env!("CARGO_PKG_VERSION"), %address, "listening");
    let shutdown = Shutdown::default();
    let stop_server = CancellationToken::new();
    let server = http::serve(listener, app.router(), stop_server.clone());
    let work = async {
        let result = tokio::select! {
            biased;
            result = signals.stop(&shutdown) => result,
            result = app.work(&shutdown) => result,
        };
        stop_server.cancel();
        result
    };
    let (result, ()) = tokio::join!(work, server);
    let flush = match result {
        Err(RunError::SecondSignal) => Duration::ZERO,
        _ => time_to_flush(grace),
    };
    tokio::select! {
        biased;
        signal = signals.next() => info!(signal, "stopping at once"),
        () = export.end(app.instruments.provider(), flush) => {}
    }
    if result.is_ok() {
        info!("stopped");
    }
    result
}

/// The signals that stop the worker. They are caught from the moment this is made. An earlier
/// signal ends the process at once, or is lost if the process is the first of its container.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// Returns [`RunError::Signals`] if the system does not allow it.
    pub fn listen() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Drains at the first signal, and returns only at the second.
    async fn stop(&mut self, shutdown: &Shutdown) -> Result<(), RunError> {
        let name = self.next().await;
        info!(signal = name, "stopping: no new messages; work in hand goes on");
        shutdown.drain();
        self.next().await;
        Err(RunError::SecondSignal)
    }
}
