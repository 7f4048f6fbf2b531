//! The holder of each message, by what the queue granted: invariant 9.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sim::{Call, Moment};
use serde_json::Value;

use crate::scene::VISIBILITY;

const GRANTED: Duration = Duration::from_secs(VISIBILITY);

#[derive(Debug)]
struct Lease {
    message: String,
    caller: String,
    received_at: Duration,
    /// The end of the lease that the queue has granted, whatever else the queue does.
    until: Duration,
    /// The receive's answer reached its caller.
    in_hand: bool,
    /// A settlement was sent and is not answered yet.
    settling: bool,
    settled: bool,
    /// The caller ended while it held the message.
    orphaned: bool,
}

/// A receive without an answer yet.
#[derive(Debug)]
struct Receive {
    caller: String,
    /// A fault may delay its answer beyond every caller's patience.
    is_disturbed: bool,
}

/// The leases of all messages, by receipt handle.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_handle: BTreeMap<String, Lease>,
    /// Receives in flight, by their position in the record.
    receives: BTreeMap<usize, Receive>,
    /// The handle of the last receive of each message.
    last: BTreeMap<String, String>,
    gone: BTreeSet<String>,
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

fn is_extension(entry: &Value) -> bool {
    entry["VisibilityTimeout"].as_u64() == Some(VISIBILITY)
}

impl Leases {
    pub(super) fn received(&mut self, call: &Call, moment: Moment, now: Duration) {
        match moment {
            Moment::Arrived => {
                let is_disturbed = !call.faults.is_empty();
                let receive = Receive { caller: call.caller.clone(), is_disturbed };
                self.receives.insert(call.seq, receive);
            }
            Moment::Answered => drop(self.receives.remove(&call.seq)),
            Moment::Before | Moment::After => {}
        }
        let messages = call.reply.iter().flat_map(|reply| list(reply, "Messages"));
        for message in messages {
            let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
            let handle = text("ReceiptHandle");
            if moment == Moment::After {
                self.last.insert(text("MessageId"), handle.clone());
                let lease = Lease {
                    message: text("MessageId"),
                    caller: call.caller.clone(),
                    received_at: now,
                    until: now + GRANTED,
                    in_hand: false,
                    settling: false,
                    settled: false,
                    orphaned: false,
                };
                self.by_handle.insert(handle, lease);
            } else if moment == Moment::Answered
                && let Some(lease) = self.by_handle.get_mut(&handle)
            {
                lease.in_hand = true;
            }
        }
    }

    /// Returns whether this caller has an undisturbed receive in flight.
    fn is_receiving(&self, caller: &str) -> bool {
        let mut receives = self.receives.values();
        receives.any(|receive| receive.caller == caller && !receive.is_disturbed)
    }

    /// Checks the entries of a delete or of a change of visibility. Returns their errors.
    pub(super) fn changed(&mut self, call: &Call, moment: Moment, now: Duration) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_receiving = self.is_receiving(&call.caller);
        let succeeded: BTreeSet<_> = call
            .reply
            .iter()
            .flat_map(|reply| list(reply, "Successful"))
            .filter_map(|entry| entry["Id"].as_str())
            .collect();
        for entry in list(&call.request, "Entries") {
            let handle = entry["ReceiptHandle"].as_str().unwrap_or_default();
            // The worker asks with a made-up handle whether it may settle.
            if handle == "tagwarden-asks-whether-it-may" {
                continue;
            }
            let Some(lease) = self.by_handle.get_mut(handle) else {
                wrong.push("9: a receipt handle that nobody received".to_owned());
                continue;
            };
            let extends = is_extension(entry);
            let done = succeeded.contains(entry["Id"].as_str().unwrap_or_default());
            let what = format!("{} of {} by {}", call.operation, lease.message, call.caller);
            match moment {
                Moment::Arrived => {
                    if lease.settled {
                        wrong.push(format!("9: {what} after it was settled"));
                    }
                    if extends && lease.settling {
                        wrong.push(format!("9: {what} extends what is being settled"));
                    }
                    if now >= lease.until {
                        wrong.push(format!("9: {what} after its lease"));
                    }
                    if lease.caller != call.caller {
                        wrong.push(format!("9: {what}, whose message it is not"));
                    }
                    if entry["VisibilityTimeout"].as_u64() == Some(0) && is_receiving {
                        wrong.push(format!("12: {what} releases what its own receive may take"));
                    }
                    lease.settling |= !extends;
                }
                Moment::After if done && extends => lease.until = now + GRANTED,
                Moment::Answered if !extends => {
                    lease.settling = false;
                    lease.settled |= done;
                }
                _ => {}
            }
        }
        wrong
    }

    /// The messages that the handles of a call name.
    pub(super) fn messages(&self, call: &Call) -> BTreeMap<String, String> {
        let handles =
            list(&call.request, "Entries").filter_map(|entry| entry["ReceiptHandle"].as_str());
        let named = handles.filter_map(|handle| Some((handle, self.by_handle.get(handle)?)));
        named.map(|(handle, lease)| (handle.to_owned(), lease.message.clone())).collect()
    }

    /// The messages that this delete took out of the queue, with the times of their receives.
    pub(super) fn gone(
        &mut self,
        call: &Call,
        there: &BTreeSet<String>,
    ) -> Vec<(String, Duration)> {
        let handles =
            list(&call.request, "Entries").filter_map(|entry| entry["ReceiptHandle"].as_str());
        let leases = handles.filter_map(|handle| self.by_handle.get(handle));
        let gone = leases.filter(|lease| !there.contains(&lease.message));
        let gone: Vec<_> = gone.map(|lease| (lease.message.clone(), lease.received_at)).collect();
        gone.into_iter().filter(|(id, _)| self.gone.insert(id.clone())).collect()
    }

    pub(super) fn is_gone(&self, message: &str) -> bool {
        self.gone.contains(message)
    }

    /// The messages that a caller holds.
    pub(super) fn held_by(&self, caller: &str, now: Duration) -> Vec<String> {
        let held = self.by_handle.values().filter(|lease| {
            lease.caller == caller && lease.in_hand && !lease.settled && now < lease.until
        });
        held.map(|lease| lease.message.clone()).collect()
    }

    /// Returns whether the last receive of a message reached a caller that lived long enough to
    /// process it.
    pub(super) fn was_in_hand(&self, message: &str) -> bool {
        let lease = self.last.get(message).and_then(|handle| self.by_handle.get(handle));
        lease.is_some_and(|lease| lease.in_hand && !lease.orphaned)
    }

    /// A caller has ended. Returns whether it left an undisturbed receive behind.
    pub(super) fn ended(&mut self, caller: &str) -> bool {
        let left_behind = self.is_receiving(caller);
        self.receives.retain(|_, receive| receive.caller != caller);
        for lease in self.by_handle.values_mut() {
            if lease.caller == caller && !lease.settled {
                lease.orphaned = true;
            }
        }
        left_behind
    }
}
