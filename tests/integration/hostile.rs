//! Texts that are meant to break out of where they are shown: of events, of findings and of AWS's
//! own errors, in logs and at the terminal. Those in notices are in `tests/worker/hostile.rs`.

mod fields;
mod logs;
mod terminal;
mod texts;
