//! Batches: up to ten entries, answered one by one under HTTP 200.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::QueueKey;
use crate::api::{ApiError, Input, Outcome};
use crate::world::World;

const MAX_ENTRIES: usize = 10;
const MAX_BYTES: usize = 1_048_576;

impl World {
    /// Runs the single operation for each entry of a batch.
    pub(super) fn batch(
        &mut self,
        key: &QueueKey,
        input: &Value,
        single: impl Fn(&mut Self, &QueueKey, &Value) -> Outcome,
    ) -> Outcome {
        let entries = input.list("Entries");
        check(entries)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let id = entry.text("Id").unwrap_or_default();
            match single(self, key, entry) {
                Ok(mut reply) => {
                    reply.set("Id", json!(id));
                    successful.push(reply);
                }
                Err(error) => {
                    failed.push(failure(id, &error.code, &error.message, error.status < 500))
                }
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }
}

/// One entry of a batch reply's `Failed`.
pub(crate) fn failure(id: &str, code: &str, message: &str, sender_fault: bool) -> Value {
    json!({"Id": id, "Code": code, "Message": message, "SenderFault": sender_fault})
}

fn check(entries: &[Value]) -> Result<(), ApiError> {
    if entries.is_empty() {
        let message = "There should be at least one entry in the request.";
        return Err(ApiError::new("EmptyBatchRequest", message));
    }
    if entries.len() > MAX_ENTRIES {
        let message = format!(
            "Maximum number of entries per request are 10. You have sent {}.",
            entries.len()
        );
        return Err(ApiError::new("TooManyEntriesInBatchRequest", message));
    }
    let mut seen = BTreeSet::new();
    for id in entries.iter().map(|entry| entry.text("Id").unwrap_or_default()) {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 80 || !id.chars().all(valid) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores.";
            return Err(ApiError::new("InvalidBatchEntryId", message));
        }
        if !seen.insert(id) {
            return Err(ApiError::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
    }
    let bytes: usize =
        entries.iter().filter_map(|entry| entry.text("MessageBody")).map(str::len).sum();
    if bytes > MAX_BYTES {
        let message = format!(
            "Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {bytes} bytes."
        );
        return Err(ApiError::new("BatchRequestTooLong", message));
    }
    Ok(())
}
