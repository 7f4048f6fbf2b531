//! What the worker logs of texts that try to break out of a line or do not belong in a log.
//!
//! This is a separate test crate, because a worker that runs beside these tests without a
//! subscriber would silence call sites for all of them.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "logs/fields.rs"]
mod fields;
#[path = "hostile/logs.rs"]
mod logs;
#[path = "hostile/texts.rs"]
mod texts;
#[path = "worker/support.rs"]
#[expect(dead_code, unreachable_pub, reason = "other test crates use the rest")]
mod worker;
