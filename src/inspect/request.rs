//! The question that an inspection answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::{PolicyVersion, RuleSettings};
use crate::event::{Claim, ImageEvent};
use crate::outcome::Attempt;

/// How long the asker can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A message: it may wait, under heartbeat, and come again.
    Queued,
    /// A message that was received beyond the permits, to find out whether another repository is
    /// still allowed. If access is refused, it does not wait.
    Probe,
    /// A person, who waits for the answer: nothing is put off, and a refusal ends the work.
    Immediate,
}

/// The times that tell which answers are recent enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// When the message was sent, by the queue's clock; `None` if that is not known.
    pub sent_at: Option<SystemTime>,
    /// When the message was received in this process.
    pub received_at: Instant,
}

impl Freshness {
    /// Returns the freshness of a question that is asked now, for which answers since `sent_at` are
    /// recent enough.
    #[must_use]
    pub(crate) fn now(sent_at: Option<SystemTime>) -> Self {
        Self { sent_at, received_at: Instant::now() }
    }
}

/// One question about an image of a repository, whoever asks it: a message of the queue, a step of
/// a sweep, or a person.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The repository.
    pub repository: Repository,
    /// The image. `None` if the request is about the images that `tags` point to.
    pub digest: Option<Digest>,
    /// The tags that the event names.
    pub tags: Vec<Tag>,
    /// The event's claim about the image's findings.
    pub claim: Claim,
    /// The event.
    pub origin: Origin,
    /// The event's id, or the message's if the event has none. Both are the same at every delivery.
    pub event_id: String,
    /// The message, if one led here.
    pub message_id: Option<String>,
    /// The times that tell which answers are recent enough.
    pub freshness: Freshness,
    /// Which delivery this is.
    pub attempt: Attempt,
    /// How long the asker can wait.
    pub urgency: Urgency,
    /// The images of the repository and the tags that a person agreed to remove; `None` if the
    /// policy alone decides.
    pub only: Option<Arc<BTreeSet<(Digest, Tag)>>>,
    /// The policy that answers the question, from its beginning to its end.
    pub policy: Arc<PolicyVersion>,
}

impl Request {
    /// Returns the question that an event asks: `message_id` is the message's, if one brought it.
    #[must_use]
    pub(crate) fn of_event(
        event: &ImageEvent,
        message_id: Option<&str>,
        freshness: Freshness,
        attempt: Attempt,
        urgency: Urgency,
        policy: Arc<PolicyVersion>,
    ) -> Self {
        let event_id = event.origin.id.as_deref().or(message_id).unwrap_or_default();
        Self {
            repository: event.repository.clone(),
            digest: event.digest.clone(),
            tags: event.tags.clone(),
            claim: event.claim.clone(),
            origin: event.origin.clone(),
            event_id: event_id.to_owned(),
            message_id: message_id.map(str::to_owned),
            freshness,
            attempt,
            urgency,
            only: None,
            policy,
        }
    }

    /// Returns whether all these tags of an image may be removed.
    #[must_use]
    pub(crate) fn permits(&self, digest: &Digest, tags: &[Tag]) -> bool {
        let Some(only) = &self.only else { return true };
        tags.iter().all(|tag| only.contains(&(digest.clone(), tag.clone())))
    }

    /// Returns whether an image may be deleted whose tags are gone already.
    #[must_use]
    pub(crate) fn permits_deletion(&self, digest: &Digest) -> bool {
        let Some(only) = &self.only else { return true };
        only.iter().any(|(image, _)| image == digest)
    }

    /// Returns the settings that judge the images of the repository.
    #[must_use]
    pub(crate) fn settings(&self) -> &RuleSettings {
        self.policy.terms(&self.repository).1
    }
}
