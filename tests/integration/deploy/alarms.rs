//! Alarms and dashboard: every metric that they use exists, and every alarm is explained.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::stacks::EVERYTHING;
use super::tools::{Tools, list, of_type, text};

const NAMESPACE: &str = "tagwarden/tagwarden";

/// A metric: its name and its dimensions.
type Figure = (String, BTreeMap<String, String>);

fn figure(name: &Value, dimensions: Option<&Value>) -> Figure {
    let all = dimensions.map(list).unwrap_or_default().iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(name), all.map(|one| (text(&one["Name"]), text(&one["Value"]))).collect())
}

/// The worker's own metrics that the alarms and the dashboard of a stack use.
fn own_figures(stack: &Value) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (_, alarm) in of_type(stack, "AWS::CloudWatch::Alarm") {
        if alarm["Namespace"] == NAMESPACE {
            figures.push(figure(&alarm["MetricName"], alarm.get("Dimensions")));
        }
    }
    for widget in widgets(stack) {
        for metric in list(&widget["properties"]["metrics"]) {
            let [namespace, name, rest @ ..] = list(metric) else { panic!("{metric}") };
            let pairs = rest.as_chunks::<2>().0.iter();
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            if namespace == NAMESPACE {
                let dimensions = pairs.map(|[name, value]| (text(name), text(value)));
                figures.push((text(name), dimensions.collect()));
            }
        }
    }
    figures
}

/// The metrics that are made from the worker's log.
fn metrics_of_the_log(stack: &Value) -> BTreeSet<String> {
    let mut metrics = BTreeSet::new();
    for (_, filter) in of_type(stack, "AWS::Logs::MetricFilter") {
        for one in list(&filter["MetricTransformations"]) {
            assert_eq!(one["MetricNamespace"], NAMESPACE);
            metrics.insert(one["MetricName"].as_str().expect("text").to_owned());
        }
    }
    metrics
}

fn widgets(stack: &Value) -> Vec<Value> {
    let [(_, dashboard)] = of_type(stack, "AWS::CloudWatch::Dashboard")[..] else {
        panic!("{stack:#}")
    };
    let body = dashboard["DashboardBody"].as_str().expect("text");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    list(&body["widgets"]).to_vec()
}

/// The part of docs/telemetry.md that is generated from the instruments.
fn metrics() -> String {
    let page = text("docs/telemetry.md");
    let (_, generated) = page.split_once("<!-- generated: metrics -->").expect("metrics");
    generated.to_owned()
}

/// The names of the instruments in OTLP, with their labels.
fn instruments() -> BTreeMap<String, Vec<String>> {
    let page = metrics();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `tagwarden_"));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|row| {
        let (name, rest) = row.split_once('`').expect("a name");
        let name = name.strip_suffix("_total").or(name.strip_suffix("_seconds")).unwrap_or(name);
        let labels = rest.split('|').nth(2).expect("labels");
        (format!("tagwarden_{name}"), quoted(labels))
    })
    .collect()
}

/// Returns whether the page lists this value for this label of a counter.
fn is_listed(page: &str, metric: &str, label: &str, value: &str) -> bool {
    let start = format!("- `{metric}_total`, `{label}`:");
    page.lines().any(|line| line.starts_with(&start) && line.contains(&format!("`{value}`")))
}

#[test]
fn every_metric_of_the_worker_is_one_of_its_instruments() {
    let Some(tools) = Tools::new() else { return };
    let (instruments, page) = (instruments(), metrics());
    let stack = tools.stack(&[]);
    let of_log = metrics_of_the_log(&stack);
    let mut figures = own_figures(&stack);
    figures.retain(|(metric, _)| !of_log.contains(metric));
    assert!(figures.len() > 10, "{figures:?}");
    for (metric, dimensions) in figures {
        if metric == "tagwarden_exceptions" {
            // The page lists the values of counters only.
            assert_eq!(dimensions["standing"], "expiring");
            continue;
        }
        let labels = instruments.get(&metric).unwrap_or_else(|| panic!("no instrument {metric}"));
        for (label, value) in dimensions {
            assert!(labels.contains(&label), "{metric} has no {label}");
            assert!(
                is_listed(&page, &metric, &label, &value),
                "{metric}: {label} is never {value}"
            );
        }
    }
}

#[test]
fn collector_passes_every_metric_that_alarms_and_dashboard_use() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let of_log = metrics_of_the_log(&stack);
    let mut figures: Vec<_> = own_figures(&stack);
    figures.retain(|(metric, _)| !of_log.contains(metric));
    let missing = |figures: &[Figure]| {
        let input = serde_json::to_string(figures).expect("JSON");
        tools.json(&["tests/deploy/covered.py", "deploy/collector.yaml"], &input)
    };
    assert_eq!(missing(&figures), json!([]));
    // A metric that is not declared is reported as missing.
    figures.push(("tagwarden_notices".to_owned(), BTreeMap::new()));
    assert_eq!(missing(&figures), json!([["tagwarden_notices", {}]]));
}

#[test]
fn every_alarm_has_a_name_a_recipient_and_a_section_in_the_docs() {
    let Some(tools) = Tools::new() else { return };
    let guide = text("docs/runbook.md");
    let headings: Vec<_> = guide
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let stack = tools.stack(&EVERYTHING);
    let alarms = of_type(&stack, "AWS::CloudWatch::Alarm");
    assert_eq!(alarms.len(), 20);
    for (name, alarm) in alarms {
        let kebab = name.chars().fold(String::new(), |mut kebab, letter| {
            if letter.is_uppercase() {
                kebab.push('-');
            }
            kebab.push(letter.to_ascii_lowercase());
            kebab
        });
        assert_eq!(alarm["AlarmName"], format!("tagwarden{kebab}"));
        let description = alarm["AlarmDescription"].as_str().expect("text");
        assert!(
            description.ends_with(&format!("docs/runbook.md, section {name}.")),
            "{description}"
        );
        assert!(list(&alarm["AlarmActions"]).len() == 1 && alarm["TreatMissingData"].is_string());
        // Who was told that it began is told that it is over.
        assert_eq!(alarm["OKActions"], alarm["AlarmActions"], "{name}");
        assert!(headings.contains(&name), "docs/runbook.md has no section {name}");
    }
}

#[test]
fn own_topic_replaces_the_topic_of_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let topic = "arn:aws:sns:eu-west-1:111122223333:on-call";
    let own = [&format!("AlarmTopicArn={topic}"), "AlarmEmail=on-call@example.com"];
    let stack = tools.stack(&own);
    let to = |stack: &Value, topic: &str| {
        let alarms = of_type(stack, "AWS::CloudWatch::Alarm").into_iter();
        alarms.filter(|(_, alarm)| alarm["AlarmActions"] == json!([topic])).count()
    };
    let warnings = "arn:aws:sns:eu-west-1:111122223333:tagwarden-warnings";
    // Without a topic of one's own for warnings, the pager gets none of them.
    assert_eq!((to(&stack, topic), to(&stack, warnings)), (URGENT.len(), 20 - URGENT.len()));
    assert_eq!(of_type(&stack, "AWS::SNS::Topic").len(), 2);
    let both = tools.stack(&[own[0], &format!("WarningTopicArn={topic}")]);
    assert_eq!((to(&both, topic), of_type(&both, "AWS::SNS::Topic").len()), (20, 1));
}

/// The alarms that somebody has to look at now.
const URGENT: [&str; 5] = ["CrashLoop", "NotReady", "NoticesFailing", "Overreach", "TasksMissing"];

#[test]
fn urgent_alarms_go_to_one_topic_and_all_others_to_another() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let topic =
        |name: &str| json!([format!("arn:aws:sns:eu-west-1:111122223333:tagwarden-{name}")]);
    for (name, alarm) in of_type(&stack, "AWS::CloudWatch::Alarm") {
        let which = if URGENT.contains(&name) { "alarms" } else { "warnings" };
        assert_eq!(alarm["AlarmActions"], topic(which), "{name}");
    }
    for (parameters, addresses) in [
        (&[][..], ["", ""]),
        (&["AlarmEmail=a@example.com"], ["a@example.com", "a@example.com"]),
        (
            &["AlarmEmail=a@example.com", "WarningEmail=b@example.com"],
            ["a@example.com", "b@example.com"],
        ),
        (&["WarningEmail=b@example.com"], ["", "b@example.com"]),
    ] {
        let stack = tools.stack(parameters);
        let address = |topic: &str| {
            let topic = &stack["resources"][topic]["Properties"];
            topic["Subscription"][0]["Endpoint"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!([address("AlarmTopic"), address("WarningTopic")], addresses, "{parameters:?}");
    }
}

#[test]
fn filters_of_the_log_look_for_what_the_worker_writes() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let pattern = |name: &str| {
        let filter = &stack["resources"][name]["Properties"];
        assert_eq!(filter["LogGroupName"], "/tagwarden/tagwarden/worker");
        filter["FilterPattern"].as_str().expect("text").to_owned()
    };
    assert_eq!(pattern("ErrorLinesFilter"), "{ $.level = \"ERROR\" }");
    for (filter, file) in [
        ("SweepsEndedFilter", "src/sweep/aggregate.rs"),
        ("HoldsEndingFilter", "src/inspect/holds.rs"),
    ] {
        let pattern = pattern(filter);
        let message = pattern.strip_prefix("{ $.message = \"").expect("a message");
        let message = message.strip_suffix("\" }").expect("a message").trim_end_matches('*');
        assert!(text(file).contains(&format!("\"{message}")), "{file} writes no {message:?}");
    }
}

#[test]
fn deployment_that_sets_off_an_alarm_is_taken_back() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let deployment = &stack["resources"]["Service"]["Properties"]["DeploymentConfiguration"];
    let alarms = &deployment["Alarms"];
    assert_eq!((&alarms["Enable"], &alarms["Rollback"]), (&json!(true), &json!(true)));
    let names = list(&alarms["AlarmNames"]);
    assert_eq!(names, [json!("tagwarden-not-ready"), json!("tagwarden-error-lines")]);
    for (_, alarm) in of_type(&stack, "AWS::CloudWatch::Alarm") {
        if names.contains(&alarm["AlarmName"]) {
            // ECS watches as long as the alarm needs, and the deployment ends no earlier.
            let number = |key: &str| alarm[key].as_u64().expect("a number");
            assert!(number("Period") * number("EvaluationPeriods") <= 900, "{alarm:#}");
            // An alarm without data would take back every deployment.
            assert_eq!(alarm["TreatMissingData"], "notBreaching");
        }
    }
}

#[test]
fn alarm_for_missing_sweeps_covers_the_configured_days() {
    let Some(tools) = Tools::new() else { return };
    let of =
        |parameters: &[&str]| tools.stack(parameters)["resources"].get("SweepMissing").cloned();
    let days = |alarm: Value| alarm["Properties"]["EvaluationPeriods"].to_string();
    assert_eq!(of(&[]).map(days), Some("\"2\"".to_owned()));
    assert_eq!(of(&["SweepMissingDays=7"]).map(days), Some("\"7\"".to_owned()));
    assert_eq!(of(&["SweepMissingDays=0"]), None);
    assert_eq!(of(&["SweepSchedule="]), None);
}

#[test]
fn alarm_for_missing_scans_covers_the_configured_hours() {
    let Some(tools) = Tools::new() else { return };
    for (hours, seconds) in [("6", 21_600), ("12", 43_200), ("24", 86_400)] {
        let stack = tools.stack(&[&format!("NoScanEventsHours={hours}")]);
        let metrics = list(&stack["resources"]["NoScanEvents"]["Properties"]["Metrics"]);
        let periods: Vec<_> =
            metrics.iter().filter_map(|one| one["MetricStat"]["Period"].as_u64()).collect();
        assert_eq!(periods, [seconds; 4]);
    }
    let off = tools.stack(&["NoScanEventsHours=0"]);
    assert_eq!(off["resources"].get("NoScanEvents"), None);
}

#[test]
fn dashboard_shows_the_metrics_of_the_alarms() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let shown: Vec<_> = widgets(&stack)
        .iter()
        .flat_map(|widget| list(&widget["properties"]["metrics"]).to_vec())
        .map(|metric| (metric[0].clone(), metric[1].clone()))
        .collect();
    // What only an alarm is about has no curve that anybody would look at.
    let alone = ["MatchedEvents", "tagwarden_exceptions", "tagwarden_panics"];
    let of_log = metrics_of_the_log(&stack);
    let mut looked_at = Map::new();
    for (name, alarm) in of_type(&stack, "AWS::CloudWatch::Alarm") {
        let Some(metrics) = alarm.get("Metrics") else {
            looked_at.insert(name.to_owned(), json!([[alarm["Namespace"], alarm["MetricName"]]]));
            continue;
        };
        let figures = list(metrics).iter().filter_map(|one| one["MetricStat"].get("Metric"));
        let figures: Vec<_> =
            figures.map(|one| json!([one["Namespace"], one["MetricName"]])).collect();
        looked_at.insert(name.to_owned(), json!(figures));
    }
    for (name, figures) in looked_at {
        for figure in list(&figures) {
            let metric = figure[1].as_str().expect("text");
            if alone.contains(&metric) || of_log.contains(metric) {
                continue;
            }
            assert!(shown.contains(&(figure[0].clone(), figure[1].clone())), "{name}: {figure}");
        }
    }
}
