//! The last receiver of each message of a queue.
#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "a module of more than one test crate")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sim::{Moment, Sim};

/// The access key of the last receiver of each message, by the message id.
pub struct Holders(Arc<Mutex<BTreeMap<String, String>>>);

impl Holders {
    /// Records every receive from now on.
    pub fn of(sim: &Sim) -> Self {
        let holders = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let seen = Arc::clone(&holders);
        sim.watch(move |_, call, moment| {
            let messages = call.reply.as_ref().and_then(|reply| reply["Messages"].as_array());
            if let (Moment::After, Some(messages)) = (moment, messages) {
                let ids = messages.iter().filter_map(|message| message["MessageId"].as_str());
                let held = ids.map(|id| (id.to_owned(), call.caller.clone()));
                seen.lock().expect("nobody panics with it").extend(held);
            }
        });
        Self(holders)
    }

    /// The messages of a queue that this task received last and that are not visible now.
    pub fn stranded(&self, sim: &Sim, queue: &str, task: &str) -> Vec<String> {
        let holders = self.0.lock().expect("nobody panics with it").clone();
        let in_flight = sim.queue(queue).messages.into_iter().filter(|message| message.in_flight);
        in_flight.map(|message| message.id).filter(|id| holders[id] == task).collect()
    }
}
