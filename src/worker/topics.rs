//! Telling the team, by as many topics as it has. A topic that fails does not stop the others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tracing::{debug, info, warn};

use super::assess::{Assessor, joined};
use super::outcome::Failure;
use super::probe::Probe;
use crate::aws::AwsError;
use crate::config::TopicSettings;
use crate::domain::image::Tag;
use crate::domain::notice::NoticeAction;
use crate::health::Pause;
use crate::notify::render::render;
use crate::notify::summary::Summary;
use crate::notify::{Notice, Notifier};
use crate::registry::Registry;
use crate::telemetry::logs::AUDIT;

/// How often a notice of tags that went is tried before its lease is given up.
const TELL_ATTEMPTS: u32 = 4;

/// One topic.
#[derive(Debug)]
pub struct Topic<N> {
    settings: TopicSettings,
    notifier: N,
    refuses: AtomicBool,
}

impl<N> Topic<N> {
    /// A topic with these settings; `refuses` where it is known to refuse us from the start.
    #[must_use]
    pub fn new(settings: TopicSettings, notifier: N, refuses: bool) -> Self {
        Self { settings, notifier, refuses: AtomicBool::new(refuses) }
    }

    /// Whether it gets everything, and so the summaries of sweeps.
    fn wants_all(&self) -> bool {
        let TopicSettings { repositories, actions, .. } = &self.settings;
        repositories.is_empty() && NoticeAction::ALL.iter().all(|action| actions.contains(action))
    }

    fn wants(&self, notice: &Notice) -> bool {
        let TopicSettings { repositories, actions, .. } = &self.settings;
        repositories.admit(notice.repository.name.as_str()) && actions.contains(&notice.action)
    }
}

/// The audit record of an act, or of a refusal to act: whatever is told, whether or not anybody hears it.
fn audit(notice: &Notice) {
    let Notice { repository, tags, judgement, .. } = notice;
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
        rule = judgement.as_ref().map(|judgement| judgement.rule.as_str()),
        reasons = notice.reasons.join("; "),
        untagged = joined(&tags.untagged),
        claimed = joined(&tags.claimed),
        would_untag = joined(&tags.would_untag),
        kept = joined(&tags.kept),
        quarantine = tags.quarantine.as_ref().map(Tag::as_str),
        "notice"
    );
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Tells the team. Where every topic refuses us, polling pauses and the notice itself is the probe. A notice of tags
    /// that went is tried several times before the lease is given up: by the next delivery they are only claimed.
    #[tracing::instrument(name = "tell", skip_all, fields(notice_id = notice.id))]
    pub(super) async fn tell(&self, notice: Notice) -> Result<(), Failure> {
        audit(&notice);
        let told = self.tell_topics(&notice).await;
        match &told {
            Ok(()) => self.told.told(&notice),
            Err(_) => self.told.not_told(&notice),
        }
        told
    }

    /// Tells the topics that get everything what a sweep came to, but for those that have heard it.
    #[tracing::instrument(name = "tell", skip_all, fields(sweep = summary.sweep))]
    pub(super) async fn tell_summary(
        &self,
        summary: &Summary,
        heard: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut failed = Ok(());
        for topic in self.topics.iter().filter(|topic| topic.wants_all()) {
            let arn = topic.settings.arn.as_str();
            if heard.contains(arn) {
                continue;
            }
            let result = topic.notifier.publish(&summary.render(topic.settings.format)).await;
            self.context.instruments.notice(result.is_ok());
            match result {
                Ok(sns_message_id) => {
                    info!(notice_id = summary.id(), topic = arn, sns_message_id, "told");
                    heard.insert(arn.to_owned());
                }
                Err(error) if error.class.is_refusal() => {
                    failed = Err(Failure::TopicRefused { topic: arn.to_owned(), error });
                }
                Err(error) => failed = Err(Failure::NotTold(error)),
            }
        }
        failed
    }

    async fn tell_topics(&self, notice: &Notice) -> Result<(), Failure> {
        let to_tell = |topic: &&Topic<N>| {
            topic.wants(notice) && !self.told.has_heard(&topic.settings.arn, notice)
        };
        let mut left: Vec<_> = self.topics.iter().filter(to_tell).collect();
        if left.is_empty() {
            // No topic was asked: this says nothing of whether they still refuse us.
            debug!("no topic is left to tell");
            return Ok(());
        }
        let mut attempts = if notice.tags.untagged.is_empty() { 1 } else { TELL_ATTEMPTS };
        let mut probe = Probe::default();
        // Dropped with the last attempt: until then this notice is the probe.
        let mut again = None;
        loop {
            let published = left.into_iter().map(|topic| self.publish(topic, notice));
            let failed: Vec<_> = join_all(published).await.into_iter().flatten().collect();
            let (topics, errors): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
            let Some(gravest) =
                errors.iter().find(|error| !error.class.is_refusal()).or(errors.first())
            else {
                self.set_paused(Pause::Topic, false, None);
                return Ok(());
            };
            if self.topics.iter().all(|topic| topic.refuses.load(Ordering::Relaxed)) {
                self.set_paused(Pause::Topic, true, Some(gravest));
                again.get_or_insert_with(|| self.unheard.again());
            } else {
                again = None;
                self.set_paused(Pause::Topic, false, None);
                attempts -= 1;
                if gravest.class.is_refusal() {
                    let topic = topics.first().map(|topic| topic.settings.arn.clone());
                    let (topic, error) = (topic.unwrap_or_default(), gravest.clone());
                    return Err(Failure::TopicRefused { topic, error });
                }
                if attempts == 0 || !gravest.class.is_transient() {
                    return Err(Failure::NotTold(gravest.clone()));
                }
                warn!(notice_id = notice.id, error = %gravest, "cannot tell yet");
            }
            left = topics;
            probe.wait(&self.context.shutdown).await?;
        }
    }

    /// Sends a notice to one topic; gives it back with the error where that fails.
    async fn publish<'a>(
        &self,
        topic: &'a Topic<N>,
        notice: &Notice,
    ) -> Option<(&'a Topic<N>, AwsError)> {
        let result = topic.notifier.publish(&render(notice, topic.settings.format)).await;
        self.context.instruments.notice(result.is_ok());
        topic
            .refuses
            .store(result.as_ref().is_err_and(|error| error.class.is_refusal()), Ordering::Relaxed);
        match result {
            Ok(sns_message_id) => {
                let topic = topic.settings.arn.as_str();
                info!(notice_id = notice.id, topic, sns_message_id, "told");
                self.told.heard(topic, notice);
                None
            }
            Err(error) => {
                self.told.missed(&topic.settings.arn, notice);
                Some((topic, error))
            }
        }
    }
}
