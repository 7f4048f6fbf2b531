//! Setting the scene without the wire. A mistake in a set-up, such as a queue that does not exist, panics: it is a
//! mistake in a test.

mod bus;
mod images;
mod queues;
mod registry;
mod scans;

use std::fmt::Display;

/// Ends a test whose set-up cannot be meant.
#[expect(
    clippy::panic,
    reason = "a mistake in a test's set-up must be loud, and is not an outcome of the simulation"
)]
#[track_caller]
pub(crate) fn misuse(what: impl Display) -> ! {
    panic!("aws-sim set-up: {what}")
}
