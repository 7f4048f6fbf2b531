//! The worker receives messages and settles them. It knows nothing of ECR.
//!
//! 1. [`Poller`] takes permits, receives messages and hands each to the processor.
//! 2. The processor parses a message, waits for a slot of its repository, has the image assessed
//!    under the heartbeat of the message's lease, and settles the message by the table of
//!    dispositions.
//! 3. The completion log writes one line for each message.

mod completion_log;
mod fairness;
mod permits;
mod poller;
mod processor;

pub(crate) use self::poller::Poller;
pub(crate) use self::processor::{ProcessorParts, declare};
