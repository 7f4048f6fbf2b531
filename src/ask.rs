//! Asks the worker to give tags back, and follows what becomes of it: what `tagwarden restore` does
//! once it knows the images.
//!
//! The command changes nothing itself. It sends one message an image to the worker's queue, and the
//! worker decides by the records on the image, by the policy, and by who has sent the message. Its
//! answer is a record on the image too, with the id of the request. So whoever asks needs to send
//! to the queue and to read the registry, and no more; and the work goes on if the command ends.
//!
//! Only the worker can tell its own records from others. Answers are read here as they are.

mod answer;
mod asked;
mod asker;
mod by_hand;
mod choosing;
mod named;
mod report;
mod request;

pub(crate) use self::answer::Answer;
pub(crate) use self::asked::{AskedAll, End};
pub(crate) use self::asker::{Asker, AskerParts};
pub(crate) use self::choosing::Filters;
pub(crate) use self::named::{Finder, NotChosen};
pub(crate) use self::report::Report;
pub(crate) use self::request::{Chosen, Wish};
