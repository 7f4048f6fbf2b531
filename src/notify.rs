//! Notices to the team: what a notice says ([`Notice`]), in which format ([`render`]) and how it is
//! sent ([`sns`]).
//!
//! A notice may be sent twice but is never lost in silence: the worker keeps the message until a
//! topic has accepted the notice. Both copies have the same id, so that a receiver can recognize
//! the second.

mod answer;
mod dispatch;
mod history;
mod notice;
mod notifier;
mod removal_gate;
pub mod render;
#[cfg(test)]
pub(crate) mod sample;
mod settings;
mod sns;
mod undo;

pub use self::answer::{Advice, AnsweredRefusal, HoldAnswer, LeftTag, RestoreAnswer, WayBack};
pub(crate) use self::dispatch::{Announced, Dispatcher, Topic, Undelivered};
pub(crate) use self::notice::id_of;
pub use self::notice::{Notice, NoticeTags, notice_id};
pub(crate) use self::notifier::Notifier;
pub use self::settings::{NoticeFormat, NotifySettings, TopicSettings};
pub(crate) use self::sns::SnsNotifier;
pub(crate) use self::undo::hold_command;
