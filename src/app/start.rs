//! The checks before the first receive. The queue must answer, and at least one topic: the others
//! are tried again with every notice, because one team's wrong topic must not stop removals for
//! all.
//!
//! When AWS cannot be reached, the checks are repeated with growing pauses, because an outage ends
//! by itself. When AWS refuses for good, the process ends with the remedy in its error, because
//! only a person can help then.
//!
//! A queue without a redrive policy is accepted with a warning. A message that cannot be parsed
//! then stays until its retention ends, and nothing else depends on the dead-letter queue.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::topics::usable_topics;
use super::{App, RunError};
use crate::aws::{AwsError, ErrorClass};
use crate::backoff::{Backoff, Retries};
use crate::notify::{SnsNotifier, Topic};
use crate::queue::{Queue as _, QueueInfo};
use crate::shutdown::Shutdown;

/// A queue that permits fewer receives than this does not outlast an outage of a few minutes.
const FEW_RECEIVES: u32 = 5;
/// The pauses between attempts to reach the queue or the topics at the start.
const CHECKS: Backoff = Backoff::new(Duration::from_secs(1), 2, Duration::from_secs(20));

impl App {
    /// Checks the queue and the topics. Returns `None` if the shutdown begins meanwhile.
    pub(super) async fn check(
        &self,
        shutdown: &Shutdown,
    ) -> Result<Option<(QueueInfo, Vec<Topic<SnsNotifier>>)>, RunError> {
        let info = self.checked("queue", shutdown, || self.queue.info()).await?;
        let Some(info) = info else { return Ok(None) };
        if info.max_receive_count.is_none() {
            warn!(
                "the queue has no redrive policy: a message that cannot be parsed stays until its \
                 retention ends; give the queue a dead-letter queue"
            );
        }
        if let Some(most) = info.max_receive_count.filter(|most| *most < FEW_RECEIVES) {
            warn!(
                max_receive_count = most,
                "the queue's redrive policy permits few receives: every retry uses one, so an \
                 outage of minutes sends messages to the dead-letter queue; permit ten"
            );
        }
        let topics = || usable_topics(&self.aws, &self.settings.notify.topics);
        let topics = self.checked("topic", shutdown, topics).await?;
        Ok(topics.map(|topics| (info, topics)))
    }

    /// Repeats a check as long as AWS cannot be reached.
    async fn checked<T, F, Fut>(
        &self,
        what: &'static str,
        shutdown: &Shutdown,
        check: F,
    ) -> Result<Option<T>, RunError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        let mut retries = Retries::new(CHECKS);
        loop {
            self.health.beat();
            let result = tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(None),
                result = check() => result,
            };
            let error = match result {
                Ok(value) => {
                    self.health.beat();
                    return Ok(Some(value));
                }
                Err(error) => error,
            };
            if !error.class.is_transient() {
                return Err(RunError::Refused { what, remedy: remedy(what, &error), error });
            }
            let pause = retries.failed();
            warn!(what, %error, retry_in_seconds = pause.as_secs(), "not reachable yet");
            tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(None),
                () = sleep(pause) => {}
            }
        }
    }
}

/// Returns the remedy for a refusal at the start.
fn remedy(what: &str, error: &AwsError) -> &'static str {
    let code = error.code.as_deref().unwrap_or_default();
    let missing =
        code.contains("NotFound") || code.contains("NonExistent") || code.contains("DoesNotExist");
    match (error.class, what) {
        (ErrorClass::Credentials, _) => {
            "give the task a role, or set the standard AWS credential variables"
        }
        (ErrorClass::Refused, "queue") if missing => "create the queue or correct queue.url",
        (ErrorClass::Refused, "queue") => {
            "allow the task's role sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:DeleteMessage \
             and sqs:ChangeMessageVisibility on the queue"
        }
        (ErrorClass::Refused, _) if missing => "create the topic or correct notify.topic_arn",
        (ErrorClass::Refused, _) => {
            "allow the task's role sns:GetTopicAttributes and sns:Publish on the topic"
        }
        (_, "queue") => "check queue.url and the Region",
        _ => "check notify.topic_arn",
    }
}
