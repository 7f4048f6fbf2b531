//! Sends the messages of sweeps.

use std::time::Duration;

use tracing::warn;

use crate::outcome::Failure;
use crate::queue::{Outgoing, Queue};

/// Returns a message that is visible at once.
pub(super) fn now(body: String) -> Outgoing {
    Outgoing { body, delay: Duration::ZERO }
}

/// Sends the messages that follow from a step. It must end before the step is deleted.
pub(super) async fn send<Q: Queue>(queue: &Q, messages: &[Outgoing]) -> Result<(), Failure> {
    queue.send(messages).await.map_err(|error| {
        warn!(
            %error,
            "cannot send the messages that follow from a step of a sweep; the step comes again, \
             and those that were sent are sent twice"
        );
        error.error.into()
    })
}
