//! The id of a record.
//!
//! Anybody who can push can store the same annotations in a manifest of other bytes, such as with
//! one blank more. That manifest has another digest, and the signature still holds. So a record is
//! known by what it says: the id covers every annotation but the signature, each with its length
//! before it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::domain::names::Digest;

/// The annotation with the signature.
pub(super) const MAC: &str = "tagwarden.mac";

/// Returns the id of the record with these annotations.
#[must_use]
pub fn record_id(annotations: &BTreeMap<String, String>) -> Digest {
    let mut hash = Sha256::new();
    framed(said(annotations), |bytes| hash.update(bytes));
    Digest::of_sha256(&hash.finalize())
}

/// Returns the names and values of every annotation but the signature, which can be written in
/// other letters.
pub(super) fn said(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let said = annotations.iter().filter(|(name, _)| *name != MAC);
    said.flat_map(|(name, value)| [name.as_str(), value.as_str()])
}

/// Passes on each part with its length before it, so that no two lists of parts have the same
/// bytes.
pub(super) fn framed<'a>(parts: impl IntoIterator<Item = &'a str>, mut take: impl FnMut(&[u8])) {
    for part in parts {
        take(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        take(part.as_bytes());
    }
}
