//! Batches of which some entries are made to fail: the entries are taken out of the request, and their failures put
//! into the reply.

use serde_json::{Value, json};

use crate::api::{Answer, ApiCall, Input, Reply};
use crate::fault::EntryPredicate;
use crate::sqs::failure;

/// What of a batch is to fail.
#[derive(Debug, Default)]
pub(crate) struct PartialFailure {
    failures: Vec<Value>,
    /// Whether no entry is left to be carried out.
    pub(crate) is_total: bool,
}

/// The request's and the reply's member for a batch operation.
fn members(call: &ApiCall) -> Option<(&'static str, &'static str)> {
    match call.operation.as_str() {
        "BatchDeleteImage" | "BatchGetImage" => Some(("imageIds", "failures")),
        operation
            if operation.ends_with("MessageBatch") || operation.ends_with("VisibilityBatch") =>
        {
            Some(("Entries", "Failed"))
        }
        _ => None,
    }
}

impl PartialFailure {
    /// Takes the entries that are to fail out of the call.
    pub(crate) fn take(&mut self, call: &mut ApiCall, code: &str, entries: &EntryPredicate) {
        let Some((member, _)) = members(call) else {
            return;
        };
        let Some(list) = call.input.get_mut(member).and_then(Value::as_array_mut) else {
            return;
        };
        let failing: Vec<Value> = list.extract_if(.., |entry| entries(entry)).collect();
        self.is_total |= list.is_empty() && !failing.is_empty();
        let reason = "injected by the simulation";
        self.failures.extend(failing.into_iter().map(|entry| match member {
            "imageIds" => json!({"imageId": entry, "failureCode": code, "failureReason": reason}),
            _ => failure(entry.text("Id").unwrap_or_default(), code, reason, false),
        }));
    }

    /// Puts the failures into the reply.
    pub(crate) fn merge(self, call: &ApiCall, answer: Answer) -> Answer {
        let Some((_, member)) = members(call).filter(|_| !self.failures.is_empty()) else {
            return answer;
        };
        answer.map(|reply| {
            let mut reply = reply.into_tree();
            match reply.get_mut(member).and_then(Value::as_array_mut) {
                Some(list) => list.extend(self.failures),
                None => reply.set(member, Value::Array(self.failures)),
            }
            Reply::Tree(reply)
        })
    }

    /// The reply of a batch of which nothing was carried out.
    pub(crate) fn nothing(call: &ApiCall) -> Answer {
        Ok(Reply::Tree(match call.operation.as_str() {
            "BatchDeleteImage" => json!({"imageIds": [], "failures": []}),
            "BatchGetImage" => json!({"images": [], "failures": []}),
            _ => json!({"Successful": [], "Failed": []}),
        }))
    }
}
