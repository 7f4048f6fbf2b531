//! The schedule that starts sweeps.

use serde_json::{Value, json};
use tagwarden::domain::names::{AccountId, Region, RegistryId};
use tagwarden::event::sweep::Step;
use tagwarden::event::{Parsed, parse};

use super::tools::{Tools, list, of_type};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:tagwarden";
const UNDELIVERED: &str = "arn:aws:sqs:eu-west-1:111122223333:tagwarden-undelivered";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";

/// The schedule of a stack, if it has one.
#[track_caller]
fn schedule(stack: &Value) -> &Value {
    let [(_, schedule)] = of_type(stack, "AWS::Scheduler::Schedule")[..] else {
        panic!("{stack:#}")
    };
    schedule
}

/// The message that the schedule sends.
#[track_caller]
pub(super) fn input(stack: &Value) -> &str {
    schedule(stack)["Target"]["Input"].as_str().expect("a text")
}

#[test]
fn schedule_sends_a_sweep_of_everything() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let own = RegistryId {
        account: AccountId::parse("111122223333").expect("an account"),
        region: Region::parse("eu-west-1").expect("a Region"),
    };
    let parsed = parse(input(&stack), &own);
    let Ok(Parsed::Sweep(order)) = parsed else { panic!("{parsed:?}") };
    // Each message starts a sweep of its own, which is identified by the message id.
    assert_eq!((order.step, order.sweep), (Step::All, None));
}

#[test]
fn images_are_swept_daily_by_default() {
    let Some(tools) = Tools::new() else { return };
    for (parameters, expression) in [
        (&[][..], "rate(1 day)"),
        (&["SweepSchedule=cron(0 3 ? * MON *)"], "cron(0 3 ? * MON *)"),
        (&["SweepSchedule=rate(6 hours)"], "rate(6 hours)"),
    ] {
        let stack = tools.stack(parameters);
        let schedule = schedule(&stack);
        assert_eq!(schedule["ScheduleExpression"], expression);
        let window = json!({"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15});
        assert_eq!(schedule["FlexibleTimeWindow"], window);
        let target = &schedule["Target"];
        assert_eq!(
            (&target["Arn"], &target["DeadLetterConfig"]["Arn"]),
            (&json!(QUEUE), &json!(UNDELIVERED))
        );
        assert_eq!(target["RoleArn"], "arn:aws:iam::111122223333:role/tagwarden-SweepRole");
    }
    let off = tools.stack(&["SweepSchedule="]);
    assert_eq!(of_type(&off, "AWS::Scheduler::Schedule"), []);
    assert_eq!(off["resources"].get("SweepRole"), None);
}

#[test]
fn role_of_the_schedule_can_only_send_to_the_queues_of_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let queues = json!({
        "Sid": "Queues",
        "Effect": "Allow",
        "Action": ["sqs:SendMessage"],
        "Resource": [QUEUE, UNDELIVERED],
    });
    let key = json!({
        "Sid": "QueueKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": KEY,
        "Condition": {"StringEquals": {"kms:ViaService": ["sqs.eu-west-1.amazonaws.com"]}},
    });
    for (parameters, granted) in
        [(vec![], json!([queues])), (vec![format!("KmsKeyArn={KEY}")], json!([queues, key]))]
    {
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        let stack = tools.stack(&parameters);
        let role = &stack["resources"]["SweepRole"]["Properties"];
        let [policy] = list(&role["Policies"]) else { panic!("{role:#}") };
        assert_eq!(policy["PolicyDocument"]["Statement"], granted);
        let trust = list(&role["AssumeRolePolicyDocument"]["Statement"]);
        let [trust] = trust else { panic!("{role:#}") };
        assert_eq!(trust["Principal"], json!({"Service": "scheduler.amazonaws.com"}));
        // The condition is the ARN of the schedule group and not of the schedule (EventBridge
        // Scheduler user guide, "Confused deputy prevention").
        let group = "arn:aws:scheduler:eu-west-1:111122223333:schedule-group/default";
        assert_eq!(
            trust["Condition"],
            json!({"StringEquals": {"aws:SourceAccount": "111122223333", "aws:SourceArn": group}})
        );
        assert_eq!(schedule(&stack).get("GroupName"), None);
    }
}

#[test]
fn queue_policies_admit_the_schedule() {
    let Some(tools) = Tools::new() else { return };
    // A role of the same account needs only its own policy unless a policy denies the call.
    for (name, policy) in of_type(&tools.stack(&[]), "AWS::SQS::QueuePolicy") {
        for statement in list(&policy["PolicyDocument"]["Statement"]) {
            let only_tls =
                statement["Condition"] == json!({"Bool": {"aws:SecureTransport": "false"}});
            assert!(statement["Effect"] == "Allow" || only_tls, "{name}: {statement:#}");
        }
    }
}
