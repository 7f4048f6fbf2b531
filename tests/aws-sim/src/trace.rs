//! The record of every call, for assertions and for comparing runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::api::{Answer, ApiCall, Service};
use crate::config::Record;

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
    /// Its place in the order in which calls reached the service, from 0: a call that is late on its way has its effect
    /// after one that arrived later. Nothing where it has not reached it.
    pub effect: Option<usize>,
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
            effect: None,
            outcome: CallOutcome::Unanswered,
            reply: None,
        }
    }

    /// Sets how it ended.
    pub(crate) fn end(&mut self, answer: &Answer) {
        self.outcome = match answer {
            Ok(reply) => {
                self.reply = Some(reply.tree().into_owned());
                CallOutcome::Ok
            }
            Err(error) => CallOutcome::Error(error.code.clone()),
        };
    }
}

/// What is kept of the calls that could be parsed.
#[derive(Debug)]
pub(crate) struct Trace {
    record: Record,
    calls: Vec<Call>,
    arrived: usize,
    effects: usize,
    counts: BTreeMap<String, usize>,
}

impl Trace {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, calls: Vec::new(), arrived: 0, effects: 0, counts: BTreeMap::new() }
    }

    /// Enters a call; its place in the order of arrival.
    pub(crate) fn enter(&mut self, at: Duration, call: &ApiCall) -> usize {
        let seq = self.arrived;
        self.arrived += 1;
        match self.counts.get_mut(&call.operation) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(call.operation.clone(), 1)),
        }
        if self.record == Record::Calls {
            self.calls.push(Call::arriving(seq, at, call));
        }
        seq
    }

    /// A call has its effect now.
    pub(crate) fn take_effect(&mut self, seq: usize) {
        let effect = self.effects;
        self.effects += 1;
        if let Some(call) = self.calls.get_mut(seq) {
            call.effect = Some(effect);
        }
    }

    /// The calls in order of arrival; none where they are only counted.
    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// A call by its place, unless they are only counted.
    pub(crate) fn call(&mut self, seq: usize) -> Option<&mut Call> {
        self.calls.get_mut(seq)
    }

    /// How many calls of each operation have come.
    pub(crate) fn counts(&self) -> &BTreeMap<String, usize> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use crate::sim::Sim;
    use crate::wire::Request;
    use serde_json::json;

    async fn kept(record: Record) -> (usize, usize) {
        let sim = Sim::new(SimConfig { record, ..SimConfig::default() });
        let headers = vec![("x-amz-target".to_owned(), "AmazonSQS.ListQueues".to_owned())];
        let request = Request { headers, ..Request::default() };
        for _ in 0..2 {
            assert!(sim.handle(request.clone()).await.is_ok());
            sim.put_event(json!({"source": "somebody"}));
        }
        assert_eq!(sim.call_counts(), BTreeMap::from([("ListQueues".to_owned(), 2)]));
        sim.read(|world| (world.trace.calls().len(), world.events.len()))
    }

    #[tokio::test(start_paused = true)]
    async fn where_calls_are_only_counted_neither_calls_nor_events_are_kept() {
        assert_eq!(kept(Record::Calls).await, (2, 2));
        assert_eq!(kept(Record::Counts).await, (0, 0));
    }
}
