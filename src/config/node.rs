//! The places of values in a text, one node for each value.

use std::collections::BTreeMap;
use std::ops::Range;

/// One value in the text.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The place of its key in bytes. It is empty if the value is an item of a list.
    pub(super) key: Range<usize>,
    /// The place of the value in bytes.
    pub(super) value: Range<usize>,
    pub(super) inner: Inner,
}

/// The values within a value.
#[derive(Debug, Default)]
pub(super) enum Inner {
    /// It holds no others.
    #[default]
    Scalar,
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
}

impl Node {
    /// Returns the place to show for the value: its key if it is a table or a list, because these
    /// go on over several lines.
    pub(super) fn shown(&self) -> Range<usize> {
        match self.inner {
            Inner::Scalar => self.value.clone(),
            _ if !self.key.is_empty() => self.key.clone(),
            _ => self.value.clone(),
        }
    }
}
