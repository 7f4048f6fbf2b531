//! A request to restore an image, with what the queue says of its message.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::domain::origin::Origin;
use crate::domain::policy::PolicyVersion;
use crate::domain::record::LONGEST_NAME;
use crate::domain::text::start;
use crate::event::Claim;
use crate::event::restore::{RestoreAction, RestoreOrder};
use crate::inspect::{Freshness, Request, Urgency};
use crate::outcome::Attempt;

/// A request to restore an image, and the message that brought it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedOrder<'a> {
    /// What the message asks for.
    pub order: &'a RestoreOrder,
    /// The source and type of the message.
    pub origin: &'a Origin,
    /// The id that the queue gives to the message.
    pub message_id: &'a str,
    /// Who sent the message, as SQS names the sender.
    pub sender: Option<&'a str>,
    /// When the message was sent, by the clock of the queue.
    pub sent_at: Option<SystemTime>,
    /// When the message was received in this process.
    pub received_at: Instant,
    /// Which delivery of the message this is.
    pub attempt: Attempt,
    /// How long the message can wait.
    pub urgency: Urgency,
}

impl ReceivedOrder<'_> {
    /// Returns the id of the request, the same at every delivery.
    pub(super) fn id(&self) -> &str {
        self.order.request.as_deref().unwrap_or(self.message_id)
    }

    /// Returns the sender as records and notices name it.
    pub(super) fn sender(&self) -> String {
        start(self.sender.unwrap_or("unknown"), LONGEST_NAME)
    }

    /// Returns the unique id of the role or user who sent the message. SQS adds the name of the
    /// session to that of a role.
    pub(super) fn principal(&self) -> Option<&str> {
        self.sender?.split(':').next().filter(|id| !id.is_empty())
    }

    /// Returns whether it is about a hold, which fewer people may ask for.
    pub(super) fn is_about_a_hold(&self) -> bool {
        match self.order.action {
            RestoreAction::GiveBack { .. } => false,
            RestoreAction::Hold { .. } | RestoreAction::Withdraw => true,
        }
    }

    /// Returns the question whether the image violates this policy.
    pub(super) fn request(&self, policy: Arc<PolicyVersion>) -> Request {
        Request {
            repository: self.order.repository.clone(),
            digest: Some(self.order.digest.clone()),
            tags: Vec::new(),
            claim: Claim::Nothing,
            origin: self.origin.clone(),
            event_id: self.id().to_owned(),
            message_id: Some(self.message_id.to_owned()),
            freshness: Freshness { sent_at: self.sent_at, received_at: self.received_at },
            attempt: self.attempt,
            urgency: self.urgency,
            only: None,
            policy,
        }
    }
}
