//! The patterns of the rules, compared with events as AWS writes them and with what the worker does
//! with these events.

use std::collections::BTreeSet;
use std::fs;

use aws_sim::Sim;
use serde_json::{Value, json};
use tagwarden::domain::names::{AccountId, Region, RegistryId};
use tagwarden::event::{Parsed, parse};

use super::tools::{Tools, list, of_type, path};

/// Events that match a rule although the worker ignores them, because a pattern cannot separate
/// them from others.
const TAKEN_IN_VAIN: [&str; 2] = [
    // The worker compares tag and digest. If the pattern excluded every tag that looks like our
    // mark, an image could hide behind such a tag.
    "ecr_image_action.push.own_quarantine_tag",
    // The worker knows better than a list in a pattern whether an artifact is an image.
    "ecr_image_action.push.helm_chart",
];

/// Every fixture that an event bus can carry: its name and the event.
fn events() -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for entry in fs::read_dir(path("tests/fixtures")).expect("a folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("text");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        // An event that came through a topic was not an event of a bus.
        if event.get("source").is_some() {
            events.push((name, event));
        }
    }
    assert!(events.len() > 30, "{}", events.len());
    events.sort_by(|one, other| one.0.cmp(&other.0));
    events
}

/// The rules of a bus that match an event.
fn takers(rules: &[(&str, &Value)], event: &Value) -> Vec<String> {
    let sim = Sim::default();
    for (name, rule) in rules {
        sim.create_queue(name, &[]);
        let text = |key: &str| event[key].as_str().expect("text");
        sim.put_rule_in(text("account"), text("region"), name, rule["EventPattern"].clone(), name);
    }
    sim.put_event(event.clone());
    let taken = rules.iter().filter(|(name, _)| !sim.queue(name).messages.is_empty());
    taken.map(|(name, _)| (*name).to_owned()).collect()
}

fn is_assessed(event: &Value) -> bool {
    let own = RegistryId {
        account: AccountId::parse("111122223333").expect("an account"),
        region: Region::parse("eu-west-1").expect("a Region"),
    };
    matches!(parse(&event.to_string(), &own), Ok(Parsed::Assess(_)))
}

/// The rules that bring work. The others keep what ECS says of the tasks, and pass on alarms.
pub(super) fn work_rules(stack: &Value) -> Vec<(&str, &Value)> {
    let mut rules = of_type(stack, "AWS::Events::Rule");
    let others = [json!(["aws.ecs"]), json!(["aws.cloudwatch"])];
    rules.retain(|(_, rule)| !others.contains(&rule["EventPattern"]["source"]));
    rules
}

/// The rules of the default bus.
fn rules(stack: &Value) -> Vec<(&str, &Value)> {
    let mut rules = work_rules(stack);
    rules.retain(|(_, rule)| rule.get("EventBusName").is_none());
    rules
}

#[test]
fn every_assessed_event_matches_one_rule_and_few_others_match() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let rules = rules(&stack);
    assert_eq!(rules.len(), 4);
    let mut used = BTreeSet::new();
    for (name, event) in events() {
        let takers = takers(&rules, &event);
        let expected = is_assessed(&event) || TAKEN_IN_VAIN.contains(&name.as_str());
        assert_eq!(takers.len(), usize::from(expected), "{name}: {takers:?}");
        used.extend(takers);
    }
    assert_eq!(used.len(), 4, "{used:?}");
}

/// An event of ECS about a task of the stack (ECS developer guide, "Task state change events").
fn task_event(cluster: &str, status: &str, code: &str, reason: &str) -> Value {
    json!({
        "version": "0", "id": "3317b2af-7005-947d-b652-f55e762e571a", "source": "aws.ecs",
        "detail-type": "ECS Task State Change", "account": "111122223333",
        "time": "2026-11-30T12:00:00Z", "region": "eu-west-1",
        "resources": ["arn:aws:ecs:eu-west-1:111122223333:task/tagwarden/c13b4cb40f1f4fe4a2971f76ae5a47ad"],
        "detail": {
            "clusterArn": format!("arn:aws:ecs:eu-west-1:111122223333:cluster/{cluster}"),
            "lastStatus": status, "desiredStatus": "STOPPED", "stopCode": code, "stoppedReason": reason,
        },
    })
}

#[test]
fn tasks_that_end_by_themselves_are_counted_and_those_that_ecs_stops_are_not() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let pattern = &stack["resources"]["TaskStoppedRule"]["Properties"]["EventPattern"];
    let matches = |event: &Value| {
        let input = json!({"pattern": pattern, "event": event}).to_string();
        tools.json(&["tests/deploy/matches.py"], &input) == json!(true)
    };
    let crashed = ["EssentialContainerExited", "Essential container in task exited"];
    for (cluster, status, [code, reason], counts) in [
        ("tagwarden", "STOPPED", crashed, true),
        ("tagwarden", "STOPPED", ["TaskFailedToStart", "CannotPullContainerError: ..."], true),
        (
            "tagwarden",
            "STOPPED",
            ["ServiceSchedulerInitiated", "Task failed container health checks"],
            true,
        ),
        (
            "tagwarden",
            "STOPPED",
            ["ServiceSchedulerInitiated", "Scaling activity initiated by deployment"],
            false,
        ),
        ("tagwarden", "STOPPED", ["UserInitiated", "Task stopped by user"], false),
        ("tagwarden", "DEPROVISIONING", crashed, false),
        ("other", "STOPPED", crashed, false),
    ] {
        let event = task_event(cluster, status, code, reason);
        assert_eq!(matches(&event), counts, "{event}");
    }
}

#[test]
fn deployment_of_the_service_that_fails_is_counted() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let pattern = &stack["resources"]["DeploymentFailedRule"]["Properties"]["EventPattern"];
    for (service, name, counts) in [
        ("tagwarden/tagwarden", "SERVICE_DEPLOYMENT_FAILED", true),
        ("tagwarden/tagwarden", "SERVICE_DEPLOYMENT_COMPLETED", false),
        ("other/tagwarden", "SERVICE_DEPLOYMENT_FAILED", false),
    ] {
        let event = json!({
            "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
            "resources": [format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}")],
            "detail": {"eventType": "ERROR", "eventName": name, "deploymentId": "ecs-svc/123"},
        });
        let input = json!({"pattern": pattern, "event": event}).to_string();
        assert_eq!(tools.json(&["tests/deploy/matches.py"], &input), json!(counts), "{event}");
    }
}

#[test]
fn no_rule_depends_on_severities() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&["CreateEventBus=true", "Regions=us-east-1"]);
    for (name, rule) in of_type(&stack, "AWS::Events::Rule") {
        let pattern = rule["EventPattern"].to_string().to_lowercase();
        assert!(!pattern.contains("severity"), "{name}: {pattern}");
    }
}

#[test]
fn no_rule_passes_a_request_of_ours() {
    let Some(tools) = Tools::new() else { return };
    let (stack, member) =
        (tools.stack(&["CreateEventBus=true", "Regions=us-east-1"]), tools.member(&[]));
    for rules in [work_rules(&stack), work_rules(&member)] {
        assert!(rules.len() >= 4);
        for (name, rule) in &rules {
            // Whoever may put events would restore and hold images otherwise.
            let sources = list(&rule["EventPattern"]["source"]);
            assert!(!sources.is_empty(), "{name}");
            for source in sources {
                assert!(["aws.ecr", "aws.inspector2"].map(Value::from).contains(source), "{name}");
            }
        }
        for detail_type in ["Restore Image", "Sweep Registry", "ECR Image Scan"] {
            for account in ["111122223333", "444455556666"] {
                let event = json!({
                    "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
                    "detail-type": detail_type, "source": "tagwarden", "account": account,
                    "time": "2026-11-30T12:00:00Z", "region": "eu-west-1", "resources": [],
                    "detail": {"repository": "team/app", "repository-name": "team/app"},
                });
                assert_eq!(takers(&rules, &event), [""; 0], "{event}");
            }
        }
    }
}

#[test]
fn other_accounts_and_regions_forward_the_same_events() {
    let Some(tools) = Tools::new() else { return };
    let (member, stack) =
        (tools.member(&[]), tools.stack(&["CreateEventBus=true", "Regions=us-east-1"]));
    let patterns = |rules: Vec<(&str, &Value)>| -> Vec<_> {
        rules
            .into_iter()
            .map(|(name, rule)| (name.to_owned(), rule["EventPattern"].clone()))
            .collect()
    };
    let forwarded = work_rules(&member);
    assert_eq!(patterns(forwarded.clone()), patterns(rules(&stack)));
    for (name, rule) in &forwarded {
        assert_eq!(
            rule["Targets"][0]["Arn"], "arn:aws:events:eu-west-1:999900001111:event-bus/tagwarden",
            "{name}"
        );
    }
    let mut on_bus = work_rules(&stack);
    on_bus.retain(|(_, rule)| rule["EventBusName"] == "tagwarden");
    for (name, event) in events() {
        if !takers(&forwarded, &event).is_empty() {
            assert_eq!(takers(&on_bus, &event), ["ForwardedRule"], "{name}");
        }
    }
}
