//! Sweeps: no chain of slices forks during one life of a task, and no two summaries with one id
//! differ.

use std::collections::{BTreeMap, BTreeSet};

use aws_sim::{Call, CallOutcome, Moment, Sim};
use serde_json::Value;

use super::text;
use crate::scene::QUEUE;

/// The subject of a sweep: its id, its start, and its registry, with or without a repository.
type Of = [String; 5];

/// The knowledge about the sweeps of a seed.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// The number of lives that have begun, of each caller and of all.
    lives: BTreeMap<String, u64>,
    /// Calls with a fault by which a life sent messages. The life may not know that they were sent.
    doubtful: BTreeMap<(String, u64), u64>,
    /// How often each position of a repository was sent, by each life and by all.
    by_life: BTreeMap<(String, u64, Of, u64), u64>,
    by_all: BTreeMap<(Of, u64), u64>,
    /// The messages that a life knows it has sent.
    confirmed: BTreeSet<(String, u64, Of, u64)>,
    /// Receipt handles of messages that were to be deleted.
    deletes: BTreeSet<String>,
    by_id: BTreeMap<String, String>,
    by_teller: BTreeMap<(String, u64, Of), BTreeSet<String>>,
    published: BTreeMap<Of, BTreeSet<String>>,
}

/// The messages of this call that were sent.
pub(super) fn sent(call: &Call) -> Vec<(String, Value)> {
    let reply = call.reply.as_ref();
    let sent = reply.and_then(|reply| reply["Successful"].as_array()).into_iter().flatten();
    let entries = |id: &Value| {
        let entries = call.request["Entries"].as_array().into_iter().flatten();
        entries.into_iter().find(|entry| entry["Id"] == *id)
    };
    let body = |sent: &Value| -> Value {
        let body = entries(&sent["Id"]).map(|entry| text(entry, "MessageBody").to_owned());
        serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default()
    };
    sent.map(|sent| (text(sent, "MessageId").to_owned(), body(sent))).collect()
}

/// The repository and the position that a message is about. A slice that is retried keeps its
/// position.
fn slice(body: &Value) -> Option<(Of, u64)> {
    let detail = &body["detail"];
    let is_slice = body["detail-type"] == "Sweep Repository" && detail["waits"] == 0;
    let of = [text(detail, "sweep"), text(body, "time")];
    let of = of.into_iter().chain(["account", "region", "repository"].map(|key| text(detail, key)));
    let of: Vec<_> = of.map(str::to_owned).collect();
    Some((of.try_into().ok()?, detail["slices"].as_u64()?)).filter(|_| is_slice)
}

impl Sweeps {
    pub(super) fn started(&mut self, caller: &str) {
        *self.lives.entry(caller.to_owned()).or_default() += 1;
    }

    fn life(&self, caller: &str) -> (String, u64) {
        (caller.to_owned(), self.lives.get(caller).copied().unwrap_or_default())
    }

    /// A call that sends messages. Returns its errors.
    pub(super) fn send(&mut self, call: &Call, moment: Moment) -> Vec<String> {
        let (caller, life) = self.life(&call.caller);
        if moment == Moment::Before && !call.faults.is_empty() {
            *self.doubtful.entry((caller.clone(), life)).or_default() += 1;
        }
        let mut wrong = Vec::new();
        for (of, position) in sent(call).iter().filter_map(|(_, body)| slice(body)) {
            let at = (caller.clone(), life, of.clone(), position);
            if moment == Moment::Answered && call.outcome == CallOutcome::Ok {
                self.confirmed.insert(at.clone());
            }
            if moment != Moment::After {
                continue;
            }
            let doubtful = |of: &(String, u64)| self.doubtful.get(of).copied().unwrap_or_default();
            let may = 1 + doubtful(&(caller.clone(), life));
            let times = self.by_life.entry(at).or_default();
            *times += 1;
            if *times > may {
                wrong.push(format!(
                    "a chain forks: {caller} sends slice {position} of {of:?} for the {times}. time, and {may} are explained"
                ));
            }
            let may = self.lives.values().sum::<u64>() + self.doubtful.values().sum::<u64>();
            let times = self.by_all.entry((of.clone(), position)).or_default();
            *times += 1;
            if *times > may {
                wrong.push(format!(
                    "a chain forks: slice {position} of {of:?} is sent for the {times}. time by {may} lives and faults"
                ));
            }
        }
        wrong
    }

    /// Messages that are deleted or returned. A message whose end was sent must not be returned to
    /// another task.
    pub(super) fn settle(
        &mut self,
        sim: &Sim,
        call: &Call,
        handles: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let entries = call.request["Entries"].as_array().into_iter().flatten();
        let mut wrong = Vec::new();
        for entry in entries {
            let handle = text(entry, "ReceiptHandle");
            if call.operation == "DeleteMessageBatch" {
                self.deletes.insert(handle.to_owned());
            }
            let id = handles.get(handle).filter(|_| entry["VisibilityTimeout"] == 0);
            let Some(id) = id.filter(|_| !self.deletes.contains(handle)) else { continue };
            let messages = sim.queue(QUEUE).messages.into_iter();
            let body =
                messages.filter(|message| message.id == *id).map(|message| message.body).next();
            let body = body.and_then(|body| serde_json::from_str(&body).ok());
            let Some((of, position)) = body.as_ref().and_then(slice) else { continue };
            let (caller, life) = self.life(&call.caller);
            if self.confirmed.contains(&(caller, life, of.clone(), position + 1)) {
                wrong
                    .push(format!("slice {position} of {of:?} is released, and the next was sent"));
            }
        }
        wrong
    }

    /// A summary was sent. Returns its errors.
    pub(super) fn published(&mut self, call: &Call) -> Vec<String> {
        let summary: Value =
            serde_json::from_str(text(&call.request, "Message")).unwrap_or_default();
        let id = text(&summary, "id").to_owned();
        let is_late = !summary["adds_to"].is_null();
        let says: Vec<_> =
            ["sweep", "began", "account", "region", "adds_to", "repositories", "images", "cut"]
                .map(|key| summary[key].to_string())
                .into();
        let says = says.join(" ");
        let mut wrong = Vec::new();
        let before = self.by_id.entry(id).or_insert_with(|| says.clone());
        if *before != says {
            wrong.push(format!("two summaries under one id: {before} and {says}"));
        }
        if is_late {
            return wrong;
        }
        let count = |key: &str| summary["repositories"][key].as_u64().unwrap_or_default();
        let (swept, covered) = (count("swept"), count("covered"));
        if swept < covered && 2 * swept <= covered {
            wrong.push(format!("a summary of {swept} of {covered} repositories: {says}"));
        }
        let of = ["sweep", "began", "account", "region"].map(|key| text(&summary, key).to_owned());
        let [sweep, began, account, region] = of;
        let of: Of = [sweep, began, account, region, String::new()];
        let (caller, life) = self.life(&call.caller);
        let by_it = self.by_teller.entry((caller.clone(), life, of.clone())).or_default();
        by_it.insert(says.clone());
        if by_it.len() > 1 {
            wrong.push(format!("{caller} publishes two summaries of one sweep: {by_it:?}"));
        }
        self.published.entry(of).or_default().insert(says);
        wrong
    }

    /// Sweeps of registries for which several tasks reported different numbers.
    pub(super) fn published_by_others_too(&self) -> u64 {
        self.published.values().filter(|says| says.len() > 1).count() as u64
    }
}
