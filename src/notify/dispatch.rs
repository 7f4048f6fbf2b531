//! Sends notices to the team's topics.
//!
//! A topic that fails does not keep the others from being notified: the failure is retried for
//! that topic alone, and [`NotificationHistory`] keeps the others from hearing the same twice. When
//! every topic refuses us, polling pauses and the notice in hand is the probe that finds out
//! whether they accept again; until then the [`RemovalGate`] stops removals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::history::NotificationHistory;
use super::removal_gate::RemovalGate;
use super::render::{Announcement, Audience, render};
use super::{Notice, Notifier};
use crate::aws::AwsError;
use crate::backoff::{Retries, Stopping};
use crate::domain::names::{Digest, Repository, Tag, joined};
use crate::health::{Health, Pause};
use crate::notify::TopicSettings;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// Attempts at a notice of removed or restored tags before its lease is given up.
///
/// Such notices are retried here, because a redelivery can only report removed tags as `claimed`,
/// and finds that a request is answered.
const ATTEMPTS_AFTER_ACTS: u32 = 4;

#[derive(Debug)]
pub(crate) struct Topic<N> {
    settings: TopicSettings,
    notifier: N,
    refuses: AtomicBool,
}

impl<N> Topic<N> {
    /// A topic with these settings; `refuses` if it is known to refuse us from the start.
    #[must_use]
    pub(crate) fn new(settings: TopicSettings, notifier: N, refuses: bool) -> Self {
        Self { settings, notifier, refuses: AtomicBool::new(refuses) }
    }

    /// Whether it gets every notice, and so the summaries of sweeps.
    fn wants_all(&self) -> bool {
        self.settings.takes_all()
    }

    fn wants(&self, notice: &Notice) -> bool {
        let violation = notice.evaluation.as_ref().filter(|evaluation| evaluation.violates());
        let counted = violation.map(|evaluation| &evaluation.counted);
        self.settings.takes(&notice.repository, notice.action, counted)
    }
}

/// Why a notice was not delivered to every topic.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Undelivered {
    /// A topic did not accept it.
    #[error("the team could not be notified: {0}")]
    Failed(#[source] AwsError),
    /// One topic refuses it, while others accept it.
    #[error("topic {topic} refuses: {error}")]
    Refused {
        /// The topic's ARN.
        topic: String,
        /// Its answer.
        #[source]
        error: AwsError,
    },
    /// The worker is stopping.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// What became of an announcement to several topics.
#[derive(Debug)]
pub(crate) struct Announced {
    /// The ARNs of the topics that have accepted it, now or before.
    pub heard: BTreeSet<String>,
    /// The last failure, if any topic failed.
    pub result: Result<(), Undelivered>,
}

/// Sends notices to topics.
#[derive(Debug)]
pub(crate) struct Dispatcher<N> {
    topics: Mutex<Arc<Vec<Topic<N>>>>,
    history: NotificationHistory,
    gate: RemovalGate,
    health: Arc<Health>,
    shutdown: Shutdown,
    instruments: Arc<Instruments>,
    /// Whether a notice is given up after some attempts although every topic refuses us.
    gives_up: bool,
    /// The URL of the queue to which requests to give tags back are sent.
    queue: Option<String>,
}

/// Writes the audit record of an act, or of a refusal to act, whether or not anybody is notified.
fn audit(notice: &Notice) {
    let Notice { repository, tags, evaluation, answer, .. } = notice;
    let answer = answer.as_deref();
    info!(
        target: AUDIT,
        notice_id = notice.id,
        event_id = notice.event_id,
        account = %repository.account,
        region = %repository.region,
        repository = %repository.name,
        digest = %notice.digest,
        cause = notice.cause.as_ref().map(|child| child.digest.as_str()),
        action = notice.action.as_str(),
        mode = notice.mode.as_str(),
        policy = notice.policy.as_str(),
        rule = evaluation.as_ref().map(|evaluation| evaluation.rule.as_str()),
        reasons = notice.reasons.join("; "),
        untagged = joined(&tags.untagged),
        claimed = joined(&tags.claimed),
        would_untag = joined(&tags.would_untag),
        kept = joined(&tags.kept),
        quarantine = tags.quarantine.as_ref().map(Tag::as_str),
        request = answer.map(|answer| answer.request.as_str()),
        sender = answer.map(|answer| answer.sender.as_str()),
        restored = answer.map(|answer| joined(&answer.restored)),
        refused = answer.and_then(|answer| Some(answer.refusal.as_ref()?.reason.as_str())),
        "notice"
    );
}

impl<N: Notifier> Dispatcher<N> {
    /// A dispatcher to these topics.
    #[must_use]
    pub(crate) fn new(
        topics: Vec<Topic<N>>,
        health: Arc<Health>,
        shutdown: Shutdown,
        instruments: Arc<Instruments>,
    ) -> Self {
        let (history, gate) = Default::default();
        let topics = Mutex::new(Arc::new(topics));
        Self { topics, history, gate, health, shutdown, instruments, gives_up: false, queue: None }
    }

    /// Names the queue to which requests to give tags back are sent.
    #[must_use]
    pub(crate) fn asked_by(self, queue: String) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Notifies these topics from now on. A notice that is being sent again goes to them too.
    pub(crate) fn use_topics(&self, topics: Vec<Topic<N>>) {
        *self.topics.lock() = Arc::new(topics);
        // It was the topics of before that refused.
        self.health.resume(Pause::Topic);
    }

    fn topics(&self) -> Arc<Vec<Topic<N>>> {
        Arc::clone(&self.topics.lock())
    }

    /// Gives a notice up after some attempts when every topic refuses us, because a person waits
    /// for the end and no message comes again.
    #[must_use]
    pub(crate) fn giving_up(self) -> Self {
        Self { gives_up: true, ..self }
    }

    /// Notifies every topic that wants this notice and has not heard it.
    ///
    /// When every topic refuses us, polling pauses and this waits until one accepts, unless the
    /// dispatcher gives up.
    ///
    /// # Errors
    /// [`Undelivered`] if at least one topic has not accepted it.
    #[tracing::instrument(name = "tell", skip_all, fields(notice_id = notice.id))]
    pub(crate) async fn notify(&self, notice: Notice) -> Result<(), Undelivered> {
        audit(&notice);
        let delivered = self.deliver(&notice).await;
        match &delivered {
            Ok(()) => self.history.delivered(&notice),
            Err(_) => self.history.undelivered(&notice),
        }
        delivered
    }

    /// Announces something that is not about one image to every topic that gets all notices, except
    /// to those in `heard`.
    #[tracing::instrument(name = "tell", skip_all, fields(notice_id = announcement.id()))]
    pub(crate) async fn announce(
        &self,
        announcement: &(impl Announcement + Sync),
        mut heard: BTreeSet<String>,
    ) -> Announced {
        let (id, mut result) = (announcement.id(), Ok(()));
        for topic in self.topics().iter().filter(|topic| topic.wants_all()) {
            let arn = topic.settings.arn.as_str();
            if heard.contains(arn) {
                continue;
            }
            let TopicSettings { format, contact, .. } = &topic.settings;
            let published =
                topic.notifier.publish(&announcement.render(*format, contact.as_deref())).await;
            self.instruments.notice(published.is_ok());
            match published {
                Ok(sns_message_id) => {
                    info!(notice_id = id, topic = arn, sns_message_id, "notified");
                    heard.insert(arn.to_owned());
                }
                Err(error) if error.class.is_refusal() => {
                    result = Err(Undelivered::Refused { topic: arn.to_owned(), error });
                }
                Err(error) => result = Err(Undelivered::Failed(error)),
            }
        }
        Announced { heard, result }
    }

    /// Waits until somebody can be notified of removals.
    ///
    /// # Errors
    /// [`Stopping`] if the worker begins to stop meanwhile.
    pub(crate) async fn wait_until_notifiable(&self) -> Result<(), Stopping> {
        self.gate.wait_until_open(self.health.clear(), &self.shutdown).await
    }

    /// Remembers that calls were made to remove these tags of an image, and that it is not known
    /// whether they did.
    pub(crate) fn may_have_lost(&self, repository: &Repository, digest: &Digest, tags: &[Tag]) {
        self.history.may_have_lost(repository, digest, tags);
    }

    /// Returns the image that lost this tag, or may have lost it, without the team being notified
    /// of it, if this process knows of one.
    pub(crate) fn image_that_lost(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        self.history.image_that_lost(repository, tag)
    }

    /// Returns the tags that an image lost, or may have lost, without the team being notified of
    /// them.
    pub(crate) fn left_to_notify(&self, repository: &Repository, digest: &Digest) -> Vec<Tag> {
        self.history.left_to_notify(repository, digest)
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), Undelivered> {
        let has_acted = !notice.tags.untagged.is_empty() || notice.answer.is_some();
        let mut attempts = if has_acted { ATTEMPTS_AFTER_ACTS } else { 1 };
        let mut retries = Retries::of_refused_call();
        // Dropped with the last attempt: until then this notice is the probe.
        let mut closed = None;
        let mut accepted = BTreeSet::new();
        loop {
            // They may be others than at the attempt before.
            let all = self.topics();
            let is_due = |topic: &&Topic<N>| {
                let arn = &topic.settings.arn;
                topic.wants(notice)
                    && !accepted.contains(arn)
                    && !self.history.has_heard(arn, notice)
            };
            let left: Vec<_> = all.iter().filter(is_due).collect();
            if left.is_empty() {
                // No topic was asked, so nothing is learned of whether they still refuse us.
                debug!("no topic is left to notify");
                return Ok(());
            }
            let published = left.iter().map(|topic| self.publish(topic, notice));
            let (mut refused, mut errors) = (None, Vec::new());
            for (topic, result) in left.iter().zip(join_all(published).await) {
                let arn = &topic.settings.arn;
                match result {
                    Ok(()) => {
                        accepted.insert(arn.clone());
                    }
                    Err(error) => {
                        refused.get_or_insert_with(|| arn.clone());
                        errors.push(error);
                    }
                }
            }
            let Some(gravest) =
                errors.iter().find(|error| !error.class.is_refusal()).or(errors.first())
            else {
                self.health.resume(Pause::Topic);
                return Ok(());
            };
            if all.iter().all(|topic| topic.refuses.load(Ordering::Relaxed)) {
                self.health.pause(Pause::Topic, gravest);
                closed.get_or_insert_with(|| self.gate.close());
                if self.gives_up {
                    attempts -= 1;
                    if attempts == 0 {
                        return Err(Undelivered::Failed(gravest.clone()));
                    }
                }
            } else {
                closed = None;
                self.health.resume(Pause::Topic);
                attempts -= 1;
                if gravest.class.is_refusal() {
                    let (topic, error) = (refused.unwrap_or_default(), gravest.clone());
                    return Err(Undelivered::Refused { topic, error });
                }
                if attempts == 0 || !gravest.class.is_transient() {
                    return Err(Undelivered::Failed(gravest.clone()));
                }
                warn!(notice_id = notice.id, error = %gravest, "cannot notify yet");
            }
            retries.wait(&self.shutdown).await?;
        }
    }

    /// Sends a notice to one topic.
    async fn publish(&self, topic: &Topic<N>, notice: &Notice) -> Result<(), AwsError> {
        let TopicSettings { format, contact, .. } = &topic.settings;
        let audience = Audience { contact: contact.as_deref(), queue: self.queue.as_deref() };
        let rendered = render(notice, *format, audience);
        let result = topic.notifier.publish(&rendered).await;
        self.instruments.notice(result.is_ok());
        topic
            .refuses
            .store(result.as_ref().is_err_and(|error| error.class.is_refusal()), Ordering::Relaxed);
        match result {
            Ok(sns_message_id) => {
                let topic = topic.settings.arn.as_str();
                info!(notice_id = notice.id, topic, sns_message_id, "notified");
                self.history.heard(topic, notice);
                Ok(())
            }
            Err(error) => {
                self.history.missed(&topic.settings.arn, notice);
                Err(error)
            }
        }
    }
}
