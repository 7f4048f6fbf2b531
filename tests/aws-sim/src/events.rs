//! EventBridge: rules on the default bus of each account and region, with SQS queues as targets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{ApiCall, ApiError, Input, Outcome, partition};
use crate::clock::iso_seconds;
use crate::config::Record;
use crate::pattern;
use crate::sqs::{NewMessage, QueueKey};
use crate::tags;
use crate::world::World;

/// Who sends what a rule delivers. The value is one that AWS's own deliveries have shown; whether it is the same in
/// every Region is not known.
const SENDER: &str = "AIDAJXNJGGKNS7OSV23OI";

/// What identifies a rule: account, region and name.
pub(crate) type RuleKey = (String, String, String);

/// A rule with its targets.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(crate) pattern: Value,
    /// Target id to the ARN of a queue.
    pub(crate) targets: BTreeMap<String, String>,
}

pub(crate) fn rule_arn((account, region, name): &RuleKey) -> String {
    format!("arn:{}:events:{region}:{account}:rule/{name}", partition(region))
}

fn no_such_rule(name: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        format!("Rule {name} does not exist on EventBus default."),
    )
}

fn rule_key(call: &ApiCall, name: &str) -> RuleKey {
    (call.account.clone(), call.region.clone(), name.to_owned())
}

impl World {
    pub(crate) fn event_bridge(&mut self, call: &ApiCall) -> Outcome {
        let bus = call.input.text("EventBusName").unwrap_or("default");
        if bus != "default" && !bus.ends_with(":event-bus/default") {
            let message =
                format!("Event bus {bus} does not exist (only the default bus is simulated).");
            return Err(ApiError::new("ResourceNotFoundException", message));
        }
        match call.operation.as_str() {
            "PutRule" => self.put_rule(call),
            "PutTargets" => self.put_targets(call),
            "RemoveTargets" => self.remove_targets(call),
            "DeleteRule" => self.delete_rule(call),
            "ListTagsForResource" => self.list_tags_of_rule(call),
            "ListRules" => Ok(self.list_rules(call)),
            "PutEvents" => Ok(self.put_events(call)),
            _ => Err(ApiError::unknown_operation(call)),
        }
    }

    fn put_rule(&mut self, call: &ApiCall) -> Outcome {
        let name = call.input.text("Name").unwrap_or_default();
        let malformed = |reason: String| {
            ApiError::new(
                "InvalidEventPatternException",
                format!("Event pattern is not valid. Reason: {reason}"),
            )
        };
        let text = call.input.text("EventPattern").ok_or_else(|| {
            ApiError::new(
                "ValidationException",
                "EventPattern is required (schedules are not simulated)",
            )
        })?;
        let pattern = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let key = rule_key(call, name);
        let arn = rule_arn(&key);
        let is_new = !self.rules.contains_key(&key);
        self.set_rule(key, pattern).map_err(malformed)?;
        if is_new {
            self.tag_resource(arn.clone(), tags::of_list(call.input.list("Tags")));
        }
        Ok(json!({"RuleArn": arn}))
    }

    /// Creates a rule, or gives an existing one another pattern.
    pub(crate) fn set_rule(&mut self, key: RuleKey, pattern: Value) -> Result<(), String> {
        pattern::check(&pattern)?;
        self.rules.entry(key).or_default().pattern = pattern;
        Ok(())
    }

    fn put_targets(&mut self, call: &ApiCall) -> Outcome {
        let name = call.input.text("Rule").unwrap_or_default();
        let rule = self.rules.get_mut(&rule_key(call, name)).ok_or_else(|| no_such_rule(name))?;
        let mut failed = Vec::new();
        for target in call.input.list("Targets") {
            let id = target.text("Id").unwrap_or_default();
            let arn = target.text("Arn").unwrap_or_default();
            if QueueKey::from_arn(arn).is_some() {
                rule.targets.insert(id.to_owned(), arn.to_owned());
            } else {
                failed.push(json!({
                    "TargetId": id,
                    "ErrorCode": "ValidationException",
                    "ErrorMessage": "only SQS queues are simulated as targets",
                }));
            }
        }
        Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
    }

    fn remove_targets(&mut self, call: &ApiCall) -> Outcome {
        let name = call.input.text("Rule").unwrap_or_default();
        let rule = self.rules.get_mut(&rule_key(call, name)).ok_or_else(|| no_such_rule(name))?;
        let mut failed = Vec::new();
        for id in call.input.texts("Ids") {
            if rule.targets.remove(id).is_none() {
                failed.push(json!({
                    "TargetId": id,
                    "ErrorCode": "ResourceNotFoundException",
                    "ErrorMessage": format!("Rule {name} does not have target {id}."),
                }));
            }
        }
        Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
    }

    /// Deletes a rule without targets. One that is not there is no error.
    fn delete_rule(&mut self, call: &ApiCall) -> Outcome {
        let key = rule_key(call, call.input.text("Name").unwrap_or_default());
        if self.rules.get(&key).is_some_and(|rule| !rule.targets.is_empty()) {
            let message = "Rule can't be deleted since it has targets.";
            return Err(ApiError::new("ValidationException", message));
        }
        self.rules.remove(&key);
        self.resource_tags.remove(&rule_arn(&key));
        Ok(json!({}))
    }

    fn list_tags_of_rule(&self, call: &ApiCall) -> Outcome {
        let arn = call.input.text("ResourceARN").unwrap_or_default();
        if !self.rules.keys().any(|key| rule_arn(key) == arn) {
            return Err(no_such_rule(arn));
        }
        Ok(json!({"Tags": tags::to_list(&self.tags_of_resource(arn))}))
    }

    fn list_rules(&self, call: &ApiCall) -> Value {
        let prefix = call.input.text("NamePrefix").unwrap_or_default();
        let ours = |(account, region, name): &RuleKey| {
            *account == call.account && *region == call.region && name.starts_with(prefix)
        };
        let rules = self.rules.iter().filter(|(key, _)| ours(key)).map(|(key, rule)| {
            json!({
                "Name": key.2,
                "Arn": rule_arn(key),
                "EventPattern": rule.pattern.to_string(),
                "State": "ENABLED",
                "EventBusName": "default",
            })
        });
        json!({"Rules": rules.collect::<Vec<_>>()})
    }

    fn put_events(&mut self, call: &ApiCall) -> Value {
        let mut rows = Vec::new();
        let mut failed = 0;
        for entry in call.input.list("Entries") {
            let detail = entry.text("Detail").and_then(|detail| serde_json::from_str(detail).ok());
            let parts =
                (entry.text("Source"), entry.text("DetailType"), detail.filter(Value::is_object));
            if let (Some(source), Some(detail_type), Some(detail)) = parts {
                let resources: Vec<String> =
                    entry.texts("Resources").into_iter().map(str::to_owned).collect();
                let id =
                    self.emit(&call.account, &call.region, source, detail_type, &resources, detail);
                rows.push(json!({"EventId": id}));
            } else {
                failed += 1;
                rows.push(json!({
                    "ErrorCode": "MalformedDetail",
                    "ErrorMessage": "Source, DetailType and a Detail that is a JSON object are required.",
                }));
            }
        }
        json!({"FailedEntryCount": failed, "Entries": rows})
    }

    /// Puts an event of now on the bus of an account and region; its id.
    pub(crate) fn emit(
        &mut self,
        account: &str,
        region: &str,
        source: &str,
        detail_type: &str,
        resources: &[String],
        detail: Value,
    ) -> String {
        let id = self.ids.uuid();
        let event = json!({
            "version": "0",
            "id": id,
            "detail-type": detail_type,
            "source": source,
            "account": account,
            "time": iso_seconds(self.now),
            "region": region,
            "resources": resources,
            "detail": detail,
        });
        self.deliver_event(account, region, event);
        id
    }

    /// Sends an event, exactly as it is, to the targets of the rules that it matches.
    pub(crate) fn deliver_event(&mut self, account: &str, region: &str, event: Value) {
        let ours = |key: &RuleKey| key.0 == account && key.1 == region;
        let queues: Vec<_> = self
            .rules
            .iter()
            .filter(|(key, rule)| ours(key) && pattern::matches(&rule.pattern, &event))
            .flat_map(|(_, rule)| rule.targets.values())
            .filter_map(|arn| QueueKey::from_arn(arn))
            .collect();
        for queue in queues {
            let message = NewMessage::of(SENDER, event.to_string());
            self.enqueue(&queue, message);
        }
        if self.config.record == Record::Calls {
            self.events.push(event);
        }
    }
}
