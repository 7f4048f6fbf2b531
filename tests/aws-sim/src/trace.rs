//! The record of every call, for assertions and for comparing runs.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::api::{ApiCall, Outcome, Service};

/// How a call ended, as its caller saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// No answer: it still waits, or its caller went away, or a fault keeps the answer back.
    Unanswered,
    /// A success; for a batch, entries may have failed.
    Ok,
    /// An error with this code.
    Error(String),
    /// The connection was reset.
    ConnectionReset,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// Its place in the order of arrival, from 0.
    pub seq: usize,
    /// When it arrived, from the start of the simulation.
    pub at: Duration,
    /// The service addressed.
    pub service: Service,
    /// The operation, such as `BatchDeleteImage`.
    pub operation: String,
    /// The access key id that signed it.
    pub caller: String,
    /// The account whose credentials signed it.
    pub account: String,
    /// The region of its credential scope.
    pub region: String,
    /// The parsed request, with sorted keys.
    pub request: Value,
    /// The faults that strike it, each in a few words that are the same in every run.
    pub faults: Vec<String>,
    /// Whether it took its course: it reached the service and was carried out or refused there, whatever the caller
    /// came to know of that.
    pub applied: bool,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The reply of a success.
    pub reply: Option<Value>,
}

impl Call {
    pub(crate) fn arriving(seq: usize, at: Duration, call: &ApiCall) -> Self {
        Self {
            seq,
            at,
            service: call.service,
            operation: call.operation.clone(),
            caller: call.caller.clone(),
            account: call.account.clone(),
            region: call.region.clone(),
            request: call.input.clone(),
            faults: Vec::new(),
            applied: false,
            outcome: CallOutcome::Unanswered,
            reply: None,
        }
    }
    /// Sets how it ended.
    pub(crate) fn end(&mut self, outcome: &Outcome) {
        self.outcome = match outcome {
            Ok(reply) => {
                self.reply = Some(reply.clone());
                CallOutcome::Ok
            }
            Err(error) => CallOutcome::Error(error.code.clone()),
        };
    }
}
