//! Every alarm of the stacks and every alert of Prometheus has its section in the runbook.

use super::pages::{anchors, text};

const PAGE: &str = "docs/runbook.md";

/// Returns the section that an alert links to.
fn section<'a>(runbook: &'a str, anchor: &str) -> Option<&'a str> {
    let explicit = format!("<a id=\"{anchor}\"></a>\n");
    if let Some((_, rest)) = runbook.split_once(&explicit) {
        return rest.trim_start().get(3..)?.split("\n## ").next();
    }
    runbook.split("\n## ").find(|section| {
        section.lines().next().is_some_and(|heading| heading.to_lowercase() == anchor)
    })
}

#[test]
fn every_alert_of_prometheus_links_to_the_section_that_names_it() {
    let (runbook, alerts) = (text(PAGE), text("deploy/prometheus/alerts.yaml"));
    let mut count = 0;
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default().trim();
        let (_, url) = alert.split_once("runbook_url: ").unwrap_or_default();
        let url = url.lines().next().unwrap_or_default().trim().trim_matches('"');
        let anchor = url.strip_prefix(&format!("{PAGE}#"));
        let anchor = anchor.unwrap_or_else(|| panic!("{name}: {url} is not in {PAGE}"));
        let found = section(&runbook, anchor).unwrap_or_else(|| panic!("{name}: no {anchor}"));
        assert!(found.contains(name), "the section {anchor} of {PAGE} does not name {name}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn every_alarm_of_the_stacks_names_its_section() {
    let known = anchors(&text(PAGE));
    let mut count = 0;
    for file in ["deploy/tagwarden.yaml", "deploy/member.yaml"] {
        let stack = text(file);
        assert_eq!(
            stack.matches("AWS::CloudWatch::Alarm\n").count(),
            stack.matches("AlarmDescription: ").count(),
            "{file}"
        );
        for description in stack.split("AlarmDescription: ").skip(1) {
            let description = description.lines().next().unwrap_or_default();
            let (_, name) = description
                .split_once(&format!("{PAGE}, section "))
                .unwrap_or_else(|| panic!("{file}: {description}"));
            let anchor = name.trim_end_matches(['"', '.']).to_lowercase();
            assert!(known.contains(&anchor), "{PAGE} has no section {name}");
            count += 1;
        }
    }
    assert!(count > 11, "{count}");
}
