//! The metrics in docs/telemetry.md are generated from what the worker shows at /metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use super::support::{World, basic, critical};

#[path = "../docs/generated.rs"]
mod generated;

const PAGE: &str = "docs/telemetry.md";
const HEAD: &str = "| metric | type | labels | meaning |\n|---|---|---|---|\n";

/// One metric: its type, its help, and its labels with their values.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| {
                    name.strip_suffix(suffix).filter(|name| metrics.contains_key(*name))
                })
                .unwrap_or(name);
            let Some(metric) = metrics.get_mut(name) else { continue };
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            for (label, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
                if label != "le" {
                    let values = metric.labels.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    metrics
}

fn page(metrics: &BTreeMap<String, Metric>) -> String {
    let mut page = HEAD.to_owned();
    for (name, metric) in metrics {
        let mut labels: Vec<_> = metric.labels.keys().map(|label| format!("`{label}`")).collect();
        if labels.is_empty() {
            labels.push("none".to_owned());
        }
        let (kind, help) = (&metric.kind, &metric.help);
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    page.push_str("\n### Values of labels\n");
    // Those of a histogram are those of the counter beside it, and the version is that of a release.
    let has_words = |(name, metric): &(&String, &Metric)| {
        metric.kind != "histogram" && *name != "tagwarden_build_info"
    };
    for (name, metric) in metrics.iter().filter(has_words) {
        for (label, values) in &metric.labels {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            let _ = write!(page, "\n- `{name}`, `{label}`: {}", values.join(", "));
        }
    }
    page.push('\n');
    page
}

#[tokio::test(start_paused = true)]
async fn metrics_page_lists_the_metrics_of_the_worker() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    let app = world.run_to_the_end().await;

    let page = page(&metrics(&app.instruments().render().unwrap()));

    generated::hold(PAGE, &[("metrics".to_owned(), page)]);
}

#[tokio::test(start_paused = true)]
async fn every_label_set_of_a_counter_exists_from_the_start() {
    let world = World::new();
    let before = world.app().instruments().render().unwrap();
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    world.sim.send(super::support::QUEUE, "not json");

    let app =
        world.run_until(|sim| sim.queue(super::support::DEAD_LETTERS).messages.len() == 1).await;

    let series = |text: &str| -> BTreeSet<String> {
        let counters = text.lines().filter(|line| line.contains("_total"));
        counters
            .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned()))
            .collect()
    };
    let after = app.instruments().render().unwrap();
    let (before, after) = (series(&before), series(&after));
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
}
