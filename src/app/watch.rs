//! Uses a changed configuration file without a restart.
//!
//! The content of the file is read every second, because files change in many ways: they are
//! written in place, replaced by a rename, or a link of a mounted volume is switched. A content
//! that was the same for five seconds is checked as a whole by `config`, and then it is used as a
//! whole: the policy by one swap of [`PolicyInUse`], which every assessment reads once. A content
//! that cannot be used changes nothing. The log, a metric and a notice to the operators say why,
//! once for each content.

mod refusal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use self::refusal::{AGAIN, Refusal};
use super::topics::usable_topics;
use crate::assess::Assessor;
use crate::aws::Aws;
use crate::config::{Change, Content, ContentId, WatchedFile};
use crate::domain::names::RegistryId;
use crate::domain::policy::PolicyVersion;
use crate::in_use::PolicyInUse;
use crate::notify::{Dispatcher, SnsNotifier};
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// How often the file is read.
const EVERY: Duration = Duration::from_secs(1);
/// How long a content has to stay the same, because a file that is being written is a part of
/// itself.
const STEADY: Duration = Duration::from_secs(5);

/// The parts whose settings change with the file.
#[derive(Debug)]
pub(super) struct WatchParts<R> {
    pub policy: PolicyInUse,
    /// Has the limits on removals.
    pub assessor: Arc<Assessor<R, SnsNotifier>>,
    /// Has the topics.
    pub dispatcher: Arc<Dispatcher<SnsNotifier>>,
    /// To check the topics.
    pub aws: Aws,
    /// The worker's own registry.
    pub own: RegistryId,
    pub shutdown: Shutdown,
    pub instruments: Arc<Instruments>,
}

/// Watches the file.
#[derive(Debug)]
pub(super) struct Watch<R> {
    parts: WatchParts<R>,
    file: Arc<WatchedFile>,
    state: State,
}

/// What is known of the content of the file.
#[derive(Debug)]
enum State {
    /// It is in use.
    InUse,
    /// It is new, and is checked at this instant if it stays the same.
    New(ContentId, Instant),
    /// It was refused.
    Refused(Refusal),
}

impl<R: Registry> Watch<R> {
    #[must_use]
    pub(super) fn new(parts: WatchParts<R>, file: WatchedFile) -> Self {
        Self { parts, file: Arc::new(file), state: State::InUse }
    }

    /// Watches the file until the worker stops.
    pub(super) async fn run(mut self) {
        info!(file = %self.file.path().display(), "the configuration file is watched");
        let shutdown = self.parts.shutdown.clone();
        let watch = async {
            loop {
                sleep(EVERY).await;
                self.turn().await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown.draining() => {}
            () = watch => {}
        }
    }

    /// Reads the file once.
    async fn turn(&mut self) {
        let path: PathBuf = self.file.path().to_owned();
        let read = spawn_blocking(move || {
            let content = Content::read(&path);
            (content.id(), content)
        });
        let Ok((id, content)) = read.await else { return };
        let now = Instant::now();
        match &mut self.state {
            _ if id == self.file.in_use() => self.is_in_use(),
            State::Refused(refusal) if refusal.content() == id => {
                refusal.announce(&self.parts.dispatcher).await;
            }
            State::New(known, due) if *known == id => {
                if now >= *due {
                    self.consider(id, content).await;
                }
            }
            State::InUse | State::New(..) | State::Refused(_) => {
                self.state = State::New(id, now + STEADY);
            }
        }
    }

    /// The file holds what is in use, perhaps again.
    fn is_in_use(&mut self) {
        if let State::Refused(_) = std::mem::replace(&mut self.state, State::InUse) {
            self.parts.instruments.config_refused(false);
            info!("the configuration file is again the one that is in use");
        }
    }

    /// Uses a content, or refuses it.
    async fn consider(&mut self, id: ContentId, content: Content) {
        let file = Arc::clone(&self.file);
        // It takes a while if there are thousands of exceptions.
        let checked = spawn_blocking(move || {
            let change = file.check(content)?;
            let policy = PolicyVersion::new(change.settings.policy.clone());
            Ok((change, policy))
        });
        match checked.await {
            Ok(Ok((change, policy))) => self.apply(id, change, policy).await,
            Ok(Err(problems)) => self.refuse(id, problems).await,
            Err(error) => self.refuse(id, vec![format!("the check ended: {error}")]).await,
        }
    }

    async fn apply(&mut self, id: ContentId, change: Change, policy: PolicyVersion) {
        let WatchParts { aws, assessor, dispatcher, instruments, .. } = &self.parts;
        let topics = &change.settings.notify.topics;
        if change.keys.iter().any(|key| key == "notify.topics") {
            match usable_topics(aws, topics).await {
                Ok(topics) => dispatcher.use_topics(topics),
                Err(error) if error.class.is_transient() => {
                    warn!(%error, "no topic of the changed configuration file can be reached yet");
                    self.state = State::New(id, Instant::now() + AGAIN);
                    return;
                }
                Err(error) => {
                    let problem = format!("notify.topics: no topic can be used: {error}");
                    return self.refuse(id, vec![problem]).await;
                }
            }
        }
        assessor.limit(change.settings.limits);
        let before = self.parts.policy.current();
        info!(
            target: AUDIT,
            file = %self.file.path().display(),
            keys = change.keys.join(", "),
            before = before.fingerprint().as_str(),
            policy = policy.fingerprint().as_str(),
            "a changed configuration file is in use"
        );
        instruments.uses(&policy);
        instruments.config_changed(true);
        self.parts.policy.replace(policy);
        self.state = State::InUse;
        // Nobody else has the file by now.
        if let Some(file) = Arc::get_mut(&mut self.file) {
            file.uses(change);
        }
    }

    /// Keeps what is in use, and says why.
    async fn refuse(&mut self, id: ContentId, problems: Vec<String>) {
        let WatchParts { dispatcher, own, policy, instruments, .. } = &self.parts;
        let policy = policy.current();
        error!(
            file = %self.file.path().display(),
            problems = problems.join("; "),
            policy = policy.fingerprint().as_str(),
            "the changed configuration file is refused, and nothing of it is used"
        );
        instruments.config_changed(false);
        let (path, fingerprint) = (self.file.path(), policy.fingerprint());
        let mut refusal = Refusal::new(id, own.clone(), path, problems, fingerprint.clone());
        refusal.announce(dispatcher).await;
        self.state = State::Refused(refusal);
    }
}
