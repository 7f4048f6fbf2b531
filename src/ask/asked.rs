//! Every chosen image, and how far its request has come.

use std::time::Duration;

use super::Answer;
use super::request::{Chosen, Standing, Wish};

/// How far the request about one image has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing was sent.
    NotBegun,
    /// It cannot be sent, for this reason.
    NotSent(String),
    /// It was sent, and has no answer yet.
    Sent,
    /// The worker has answered.
    Answered(Answer),
}

/// A chosen image and the request about it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The image.
    pub chosen: Chosen,
    /// The id of the request.
    pub request: String,
    /// How far it has come.
    pub stage: Stage,
}

impl Asked {
    fn new(chosen: Chosen) -> Self {
        // Nobody else draws the same 16 random bytes.
        let request = format!("{:032x}", fastrand::u128(..));
        Self { chosen, request, stage: Stage::NotBegun }
    }

    /// Returns the body of the message.
    #[must_use]
    pub(super) fn body(&self, wish: &Wish) -> String {
        self.chosen.order(wish, &self.request).body()
    }

    /// Returns whether its message is to be sent.
    #[must_use]
    pub(super) fn is_due(&self) -> bool {
        self.chosen.standing == Standing::Askable && self.stage == Stage::NotBegun
    }
}

/// Why the work ended before every image had its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal came.
    Interrupted,
    /// A message could not be sent, for this reason.
    NotSent(String),
    /// The answers cannot be read, for this reason.
    Unreadable(String),
    /// No further answer came in time.
    NoAnswer {
        /// How long the last wait was.
        patience: Duration,
        /// The last call that failed, if any did.
        failed: Option<String>,
    },
}

/// Everything that is asked for, and what has become of it.
#[derive(Clone, Debug)]
pub(crate) struct AskedAll {
    /// What is asked for.
    pub wish: Wish,
    /// Every image that was chosen, also those about which nobody is asked.
    pub images: Vec<Asked>,
    /// Why the work ended early.
    pub end: Option<End>,
}

impl AskedAll {
    /// Returns the requests about these images, none of which is sent yet.
    #[must_use]
    pub(crate) fn new(wish: Wish, chosen: Vec<Chosen>) -> Self {
        Self { wish, images: chosen.into_iter().map(Asked::new).collect(), end: None }
    }

    /// Returns the images about which the worker can be asked.
    pub(crate) fn askable(&self) -> impl Iterator<Item = &Asked> {
        self.images.iter().filter(|one| one.chosen.standing == Standing::Askable)
    }

    /// Returns whether somebody waits for an answer.
    #[must_use]
    pub(super) fn is_waiting(&self) -> bool {
        self.images.iter().any(|one| one.stage == Stage::Sent)
    }

    /// Names requests that were sent and have no answer, as the worker's log names them.
    #[must_use]
    pub(crate) fn unanswered(&self) -> String {
        let mut open = self.images.iter().filter(|one| one.stage == Stage::Sent);
        let first = open.next().map(|one| one.request.as_str()).unwrap_or_default();
        match open.count() {
            0 => format!("request {first}"),
            more => format!("request {first} and {more} more"),
        }
    }

    /// Returns the number of messages that were sent, answered or not.
    #[must_use]
    pub(crate) fn sent(&self) -> usize {
        let is_sent = |one: &&Asked| matches!(one.stage, Stage::Sent | Stage::Answered(_));
        self.images.iter().filter(is_sent).count()
    }

    /// Returns whether all that was asked for is done, or was done before. If `is_followed` is not
    /// set, a message that was sent counts as done.
    #[must_use]
    pub(crate) fn is_whole(&self, is_followed: bool) -> bool {
        self.images.iter().all(|one| match &one.stage {
            Stage::Answered(answer) => answer.is_done(),
            Stage::Sent => !is_followed,
            Stage::NotSent(_) => false,
            Stage::NotBegun => !one.is_due() && !one.chosen.standing.is_left_to_people(),
        })
    }
}
