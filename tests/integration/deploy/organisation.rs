//! Accounts of an organisation: one template for all of them and all Regions, events by the
//! organisation's id, and alarms that reach the worker's account.

use aws_sim::Sim;
use serde_json::{Value, json};

use super::task::environment;
use super::tools::{Tools, list, of_type};

const ORGANIZATION: &str = "OrganizationId=o-a1b2c3d4e5";
const EXTERNAL_ID: &str = "MemberExternalId=external";
const ACCOUNTS: &str = "MemberAccounts=444455556666,777788889999";
/// The account in which the templates are evaluated.
const HERE: &str = "111122223333";

fn bus_in(account: &str, region: &str) -> String {
    format!("EventBusArn=arn:aws:events:{region}:{account}:event-bus/tagwarden")
}

#[test]
fn stack_set_makes_one_role_an_account_and_nothing_where_the_worker_is() {
    let Some(tools) = Tools::new() else { return };
    let made = tools.json(&["tests/deploy/moto_organisation.py", "deploy/member.yaml"], "");
    let has = |roles: u8, home: u8, other: u8| json!({"roles": roles, "rules": {"eu-west-1": home, "us-east-1": other}});
    assert_eq!(
        made,
        json!({"worker": has(0, 0, 5), "one": has(1, 5, 5), "two": has(1, 5, 5), "outside": has(0, 0, 0)})
    );
}

#[test]
fn role_is_made_in_one_region_and_not_in_the_account_of_the_worker() {
    let Some(tools) = Tools::new() else { return };
    let elsewhere = bus_in("999900001111", "eu-west-1");
    let in_own_account = bus_in(HERE, "us-east-1");
    for (parameters, has_role) in [
        (&[&*elsewhere][..], true),
        (&[&*elsewhere, "AWS::Region=us-east-1"], false),
        (&[&*elsewhere, "AWS::Region=us-east-1", "RoleRegion=us-east-1"], true),
        (&[&*elsewhere, "RoleRegion=us-east-1"], false),
        (&[&*in_own_account], false),
        (&[&*in_own_account, "RoleRegion=eu-west-1"], false),
    ] {
        let member = tools.member(parameters);
        assert_eq!(member["resources"].get("WorkerRole").is_some(), has_role, "{parameters:?}");
        assert_eq!(member["outputs"].get("RoleArn").is_some(), has_role, "{parameters:?}");
        assert_eq!(of_type(&member, "AWS::Events::Rule").len(), 5, "{parameters:?}");
    }
    let home = tools.member(&[&bus_in(HERE, "eu-west-1")]);
    let made: Vec<_> = home["resources"].as_object().expect("resources").keys().collect();
    // CloudFormation takes no stack without a resource.
    assert_eq!(made, ["Nothing"]);
    assert_eq!(home["outputs"], json!({}));
}

#[test]
fn bus_takes_events_of_the_organisation_or_of_the_accounts() {
    let Some(tools) = Tools::new() else { return };
    let by_id = json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}});
    let listed = json!({"AWS": ["444455556666", "777788889999"]});
    for (parameters, principal, condition) in [
        (&[EXTERNAL_ID, ACCOUNTS][..], listed, None),
        (&[EXTERNAL_ID, ORGANIZATION], json!("*"), Some(&by_id)),
        (&[EXTERNAL_ID, ORGANIZATION, ACCOUNTS], json!("*"), Some(&by_id)),
    ] {
        let stack = tools.stack(parameters);
        let statement = &stack["resources"]["EventBusPolicy"]["Properties"]["Statement"];
        assert_eq!(statement["Principal"], principal, "{parameters:?}");
        assert_eq!(statement.get("Condition"), condition, "{parameters:?}");
        assert_eq!(statement["Action"], "events:PutEvents");
    }
    assert_eq!(tools.stack(&[])["resources"].get("EventBusPolicy"), None);
}

/// The statement by which the worker's role may assume roles in other accounts.
fn assumes(stack: &Value) -> Value {
    let worker = &stack["resources"]["TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"];
    let mut all = list(&worker["Statement"]).iter().filter(|one| one["Sid"] == "OtherAccounts");
    all.next().expect("a statement")["Condition"]["StringEquals"].clone()
}

#[test]
fn worker_covers_listed_accounts_and_without_a_list_those_of_the_text() {
    let Some(tools) = Tools::new() else { return };
    let accounts = "TAGWARDEN__POLICY__ACCOUNTS";
    let of_text = [ORGANIZATION, EXTERNAL_ID];
    let variables = environment(&tools.task_definition(&of_text));
    assert_eq!(variables.get(accounts), None);
    assert!(variables["TAGWARDEN__AWS__ASSUME_ROLE"].ends_with(":role/tagwarden-member"));
    // Whatever the text says, no role outside of the organisation.
    let assumed = assumes(&tools.stack(&of_text));
    assert_eq!(assumed, json!({"aws:ResourceOrgID": "o-a1b2c3d4e5"}));
    let both = [ORGANIZATION, EXTERNAL_ID, ACCOUNTS];
    let variables = environment(&tools.task_definition(&both));
    assert_eq!(variables[accounts], "111122223333,444455556666,777788889999");
    let listed = json!(["444455556666", "777788889999"]);
    let assumed = assumes(&tools.stack(&both));
    assert_eq!(
        assumed,
        json!({"aws:ResourceAccount": listed, "aws:ResourceOrgID": "o-a1b2c3d4e5"})
    );
}

/// What CloudWatch says of an alarm (its user guide, "Alarm events and EventBridge").
fn alarm_event(name: &str, state: &str) -> Value {
    json!({
        "version": "0", "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92", "account": HERE,
        "source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change",
        "time": "2026-11-30T12:00:00Z", "region": "eu-west-1",
        "resources": [format!("arn:aws:cloudwatch:eu-west-1:{HERE}:alarm:{name}")],
        "detail": {
            "alarmName": name, "state": {"value": state, "reason": "Threshold Crossed"},
            "configuration": {"description": "docs/runbook.md"},
        },
    })
}

fn takes(rule: &Value, event: &Value) -> bool {
    let sim = Sim::default();
    sim.create_queue("taken", &[]);
    sim.put_rule_in(HERE, "eu-west-1", "rule", rule["EventPattern"].clone(), "taken");
    sim.put_event(event.clone());
    !sim.queue("taken").messages.is_empty()
}

#[test]
fn every_alarm_of_a_member_reaches_the_warnings_of_the_worker() {
    let Some(tools) = Tools::new() else { return };
    // As StackSets name their stacks.
    let name = "AWS::StackName=StackSet-tagwarden-member-0d5c9a3e-6a53-4b6e-9a32-0c4b1f6a7d11";
    let member = tools.member(&[name]);
    let central = tools.stack(&[ORGANIZATION, EXTERNAL_ID]);
    let there = &member["resources"]["AlarmRule"]["Properties"];
    let here = &central["resources"]["MemberAlarmRule"]["Properties"];
    let alarms = of_type(&member, "AWS::CloudWatch::Alarm");
    assert_eq!(alarms.len(), 2);
    for (_, alarm) in alarms {
        let name = alarm["AlarmName"].as_str().expect("a name");
        for state in ["ALARM", "OK", "INSUFFICIENT_DATA"] {
            let event = alarm_event(name, state);
            let matters = state != "INSUFFICIENT_DATA";
            assert_eq!((takes(there, &event), takes(here, &event)), (matters, matters), "{event}");
        }
    }
    // Nothing that others have alarms for, though they may send to the bus.
    let other = alarm_event("payroll-is-late", "ALARM");
    assert!(!takes(there, &other) && !takes(here, &other));
    let [bus] = list(&there["Targets"]) else { panic!("{there:#}") };
    assert_eq!(bus["Arn"], "arn:aws:events:eu-west-1:999900001111:event-bus/tagwarden");
    assert_eq!(here["EventBusName"], "tagwarden");
    let [topic] = list(&here["Targets"]) else { panic!("{here:#}") };
    assert_eq!(topic["Arn"], "arn:aws:sns:eu-west-1:111122223333:tagwarden-warnings");
    // Every word that the text takes from the event is there.
    let event = alarm_event("a", "OK");
    for (word, from) in topic["InputTransformer"]["InputPathsMap"].as_object().expect("paths") {
        let from = from.as_str().expect("a path").strip_prefix('$').expect("a path");
        assert!(event.pointer(&from.replace('.', "/")).is_some_and(Value::is_string), "{word}");
        let text = topic["InputTransformer"]["InputTemplate"].as_str().expect("a text");
        assert!(text.contains(&format!("<{word}>")), "{word}: {text}");
    }
}

#[test]
fn topic_of_warnings_lets_that_rule_publish_and_no_other() {
    let Some(tools) = Tools::new() else { return };
    let may_publish = |stack: &Value| {
        let policy = &stack["resources"]["WarningTopicPolicy"]["Properties"]["PolicyDocument"];
        let all = list(&policy["Statement"]).iter();
        let events = all.filter(|one| one["Principal"]["Service"] == "events.amazonaws.com");
        events.map(|one| one["Condition"]["ArnEquals"]["aws:SourceArn"].clone()).collect::<Vec<_>>()
    };
    let rule = "arn:aws:events:eu-west-1:111122223333:rule/tagwarden/MemberAlarmRule";
    assert_eq!(may_publish(&tools.stack(&[ORGANIZATION, EXTERNAL_ID])), [json!(rule)]);
    assert_eq!(may_publish(&tools.stack(&[])), [] as [Value; 0]);
    let own = "WarningTopicArn=arn:aws:sns:eu-west-1:111122223333:warnings";
    let stack = tools.stack(&[ORGANIZATION, EXTERNAL_ID, own]);
    let target = &stack["resources"]["MemberAlarmRule"]["Properties"]["Targets"][0]["Arn"];
    assert_eq!(target, "arn:aws:sns:eu-west-1:111122223333:warnings");
}
