//! Texts that try to break out of where they are shown: texts of events, of findings and of AWS
//! errors, in logs, in notices and at the terminal.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "hostile/notices.rs"]
mod notices;
#[expect(dead_code, reason = "other test crates use the rest")]
mod process;
#[path = "commands/support.rs"]
#[expect(dead_code, reason = "other test crates use the rest")]
mod support;
#[path = "hostile/terminal.rs"]
mod terminal;
#[path = "hostile/texts.rs"]
mod texts;
#[path = "worker/support.rs"]
#[expect(dead_code, unreachable_pub, reason = "other test crates use the rest")]
mod worker;
