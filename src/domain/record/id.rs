//! The id of a record.
//!
//! Anybody who can push can store the same annotations in a manifest of other bytes, such as with
//! one blank more. That manifest has another digest, and the signature still holds. So a record is
//! known by what it says: the id covers every annotation but the signature, each with its length
//! before it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::keys::MAC;
use crate::domain::names::Digest;

/// Returns the id of the record with these annotations.
#[must_use]
pub fn record_id(annotations: &BTreeMap<String, String>) -> Digest {
    let mut hash = Sha256::new();
    // The same signature can be written in other letters.
    for (name, value) in annotations.iter().filter(|(name, _)| *name != MAC) {
        for part in [name, value] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::of_sha256(&hex)
}
