//! The alarms of CloudWatch and the alerts of Prometheus tell of the same things, equally grave and
//! after the same time, or there is a reason why only one of them does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tools::{Tools, list, of_type, text};

/// What both tell: the alarm, the alert, the seconds that the alarm looks at, what the alert says
/// of that time, and the number that neither may pass.
const BOTH: [(&str, &str, u64, &str, &str); 9] = [
    ("NotReady", "TagwardenNotReady", 900, "for: 15m", "< 1"),
    ("NoticesFailing", "TagwardenNoticesFailing", 3600, "[1h]", "> 2"),
    ("Overreach", "TagwardenOverreach", 3600, "[1h]", "> 0"),
    ("AccessRefused", "TagwardenAccessRefused", 10_800, "[3h]", "> 0"),
    ("LimitReached", "TagwardenLimitReached", 5400, "[90m]", "> 0"),
    ("LeasesLost", "TagwardenLeasesLost", 1800, "[30m]", "> 10"),
    ("Panics", "TagwardenPanics", 1800, "[30m]", "> 0"),
    ("Exceptions", "TagwardenExceptionsExpiring", 3600, "for: 1h", "> 0"),
    ("SweepMissing", "TagwardenSweepMissing", 172_800, "> 172800", "> 172800"),
];

/// What both tell by figures that cannot be compared: the alarm by those of AWS.
const BY_OTHER_FIGURES: [(&str, &str); 5] = [
    ("TasksMissing", "TagwardenNotScraped"),
    ("NotReady", "TagwardenNoneReady"),
    ("DeadLetters", "TagwardenMalformedMessages"),
    ("OldestMessage", "TagwardenEventsLate"),
    ("NoScanEvents", "TagwardenNoScanEvents"),
];

/// The alarms on what Prometheus does not see.
const ONLY_ALARMS: [(&str, &str); 7] = [
    (
        "CrashLoop",
        "a task that has ended shows no metrics; TagwardenNoneReady sees that none begins",
    ),
    ("DeploymentFailed", "ECS says it, not the worker"),
    ("ErrorLines", "the log is in CloudWatch"),
    ("HoldsEnding", "the log is in CloudWatch"),
    ("MetricsMissing", "it is about the way to CloudWatch"),
    ("OldestMessageDay", "the worker does not see its queue from outside"),
    ("UndeliveredEvents", "the worker does not see that queue"),
];

/// The alerts that CloudWatch does not need, or for which it would need figures that cost.
const ONLY_ALERTS: [(&str, &str); 6] = [
    ("TagwardenTaskNotScraped", "it is about the way to Prometheus"),
    ("TagwardenPollStalled", "ECS replaces most of these tasks, and OldestMessage rings"),
    ("TagwardenCallsRefused", "AccessRefused rings for the messages that wait for it"),
    ("TagwardenCallsThrottled", "the worker paces itself, and nothing is lost"),
    ("TagwardenCallsFailing", "AWS Health tells of it, and OldestMessage rings"),
    ("TagwardenExceptionsExpired", "information only"),
];

fn alerts(tools: &Tools) -> Vec<Value> {
    let program = "import sys, yaml, json; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let all = tools.json(&["-c", program], &text("deploy/prometheus/alerts.yaml"));
    list(&all["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

/// Checks that an alarm and an alert are equally grave, and lead to the same section.
fn are_alike(name: &str, alarm: &Value, alert: &Value) {
    let topic = alarm["AlarmActions"][0].as_str().expect("a topic");
    let severity = if topic.ends_with("-alarms") { "critical" } else { "warning" };
    assert_eq!(alert["labels"]["severity"], severity, "{name}");
    let runbook = alert["annotations"]["runbook_url"].as_str().expect("a place");
    assert_eq!(runbook, format!("docs/runbook.md#{}", kebab(name)));
}

#[test]
fn cloudwatch_and_prometheus_agree() {
    let Some(tools) = Tools::new() else { return };
    let (stack, alerts) = (tools.stack(&[]), alerts(&tools));
    let alarm = |name: &str| &stack["resources"][name]["Properties"];
    let alert = |name: &str| {
        let found = alerts.iter().find(|one| one["alert"] == name);
        found.unwrap_or_else(|| panic!("no alert {name}"))
    };
    for (name, alert_name, seconds, time, limit) in BOTH {
        let (alarm, alert) = (alarm(name), alert(alert_name));
        are_alike(name, alarm, alert);
        let number = |key: &str| {
            let value = &alarm[key];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {key} is {text}"))
        };
        assert_eq!(number("Period") * number("EvaluationPeriods"), seconds, "{name}");
        let expression = alert["expr"].as_str().expect("an expression");
        let for_it = format!("for: {}", alert["for"].as_str().unwrap_or_default());
        assert!(expression.contains(time) || for_it == time, "{name}: {expression} {for_it}");
        assert!(expression.contains(limit), "{name}: {expression}");
        if name != "SweepMissing" {
            let side = if limit.starts_with('<') { "Less" } else { "Greater" };
            let operator = alarm["ComparisonOperator"].as_str().expect("text");
            assert_eq!(operator, format!("{side}ThanThreshold"), "{name}");
            assert_eq!(number("Threshold").to_string(), limit[2..], "{name}");
        }
    }
    for (name, alert_name) in BY_OTHER_FIGURES {
        are_alike(name, alarm(name), alert(alert_name));
    }
    let told = |alarms: &mut BTreeSet<String>, name: &str| alarms.insert(name.to_owned());
    let (mut of_alarms, mut of_alerts) = (BTreeSet::new(), BTreeSet::new());
    for (alarm, alert, ..) in BOTH {
        told(&mut of_alarms, alarm);
        told(&mut of_alerts, alert);
    }
    for (alarm, alert) in BY_OTHER_FIGURES {
        told(&mut of_alarms, alarm);
        told(&mut of_alerts, alert);
    }
    for (alarm, why) in ONLY_ALARMS {
        assert!(told(&mut of_alarms, alarm) && !why.is_empty(), "{alarm}");
    }
    for (alert, why) in ONLY_ALERTS {
        assert!(told(&mut of_alerts, alert) && !why.is_empty(), "{alert}");
    }
    let all = of_type(&stack, "AWS::CloudWatch::Alarm");
    assert_eq!(of_alarms, all.iter().map(|(name, _)| (*name).to_owned()).collect());
    let all = alerts.iter().map(|one| one["alert"].as_str().expect("a name").to_owned());
    assert_eq!(of_alerts, all.collect());
}
