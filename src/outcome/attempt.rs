//! The number of a message's delivery.

/// The number of a message's delivery, and the most deliveries that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// After this many receives the queue's redrive policy moves the message to the dead-letter
    /// queue; `None` if the queue has no such policy.
    pub most: Option<u32>,
}

impl Attempt {
    /// The only attempt, for a question whose asker waits for the answer.
    pub(crate) const ONLY: Self = Self { number: 1, most: None };

    /// Returns whether an earlier delivery may have begun the work.
    #[must_use]
    pub(crate) fn is_repeated(self) -> bool {
        self.number > 1
    }

    /// Returns whether the redrive policy permits no further receive.
    #[must_use]
    pub(crate) fn is_last(self) -> bool {
        self.most.is_some_and(|most| self.number >= most)
    }

    /// Returns whether the next receive is the last.
    pub(super) fn is_last_but_one(self) -> bool {
        self.most.is_some_and(|most| self.number.saturating_add(1) >= most)
    }
}
