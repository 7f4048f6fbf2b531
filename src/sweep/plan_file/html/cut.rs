//! Lists that are shown in part, and say so.

use super::words::number;

/// The start of a list, and the number of items that are left out.
#[derive(Debug)]
pub(super) struct Cut<T> {
    pub(super) shown: Vec<T>,
    left_out: u64,
}

impl<T> Cut<T> {
    /// Takes the first `most` items of a list.
    pub(super) fn of<I>(items: I, most: usize, show: impl FnMut(I::Item) -> T) -> Self
    where
        I: ExactSizeIterator,
    {
        let left_out = items.len().saturating_sub(most) as u64;
        Self { shown: items.take(most).map(show).collect(), left_out }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Returns the number of items that are left out, if there are any.
    pub(super) fn more(&self) -> Option<String> {
        (self.left_out > 0).then(|| number(self.left_out))
    }
}
