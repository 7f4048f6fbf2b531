//! Rules and events on the default bus.

use std::time::Duration;

use serde_json::Value;

use super::misuse;
use crate::events::RuleKey;
use crate::sim::Sim;
use crate::world::Scheduled;

impl Sim {
    /// Creates a rule on the default bus of the simulation's own account and region, with a queue as its target.
    ///
    /// # Panics
    ///
    /// Where the pattern is malformed.
    #[track_caller]
    pub fn put_rule(&self, name: &str, pattern: Value, queue_name: &str) {
        self.put_rule_in(&self.config().account, &self.config().region, name, pattern, queue_name);
    }

    /// Creates a rule in any account and region. The queue is one of the simulation's own account and region.
    ///
    /// # Panics
    ///
    /// Where the pattern is malformed.
    #[track_caller]
    pub fn put_rule_in(
        &self,
        account: &str,
        region: &str,
        name: &str,
        pattern: Value,
        queue_name: &str,
    ) {
        let key: RuleKey = (account.to_owned(), region.to_owned(), name.to_owned());
        let target = self.queue_arn(queue_name);
        let done = self.change(|world| {
            world.set_rule(key.clone(), pattern)?;
            if let Some(rule) = world.rules.get_mut(&key) {
                rule.targets.insert(queue_name.to_owned(), target);
            }
            Ok::<_, String>(())
        });
        if let Err(reason) = done {
            misuse(reason);
        }
    }

    /// Puts an event, exactly as it is, on the bus of the account and region that it names (else the simulation's).
    pub fn put_event(&self, event: Value) {
        self.put_event_after(Duration::ZERO, event);
    }

    /// Puts an event on its bus after some time.
    pub fn put_event_after(&self, delay: Duration, event: Value) {
        let text = |key, default: &str| {
            event.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let account = text("account", &self.config().account);
        let region = text("region", &self.config().region);
        self.change(|world| world.schedule(delay, Scheduled::Event { account, region, event }));
    }
}
