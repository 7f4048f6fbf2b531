//! The configuration of the log router and of the collector: it can be read, and it uses only
//! fields, instruments and label values that exist.
//!
//! `python tests/router/run.py FLUENT_BIT` runs a real Fluent Bit with the router's file. No
//! package registry has Fluent Bit, so this is done by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tagwarden::telemetry::logs::AUDIT;

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A section of Fluent Bit's classic configuration: its kind, and its keys in lower case with their
/// values.
type Section = (String, BTreeMap<String, String>);

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text("deploy/fluent-bit.conf").lines() {
        let line = line.trim_end();
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if let Some(kind) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((kind.to_owned(), BTreeMap::new()));
            continue;
        }
        assert!(line.starts_with("    "), "not indented: {line}");
        let (key, value) =
            line.trim().split_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (_, keys) = sections.last_mut().unwrap_or_else(|| panic!("no section: {line}"));
        let before = keys.insert(key.to_lowercase(), value.trim().to_owned());
        assert_eq!(before, None, "twice: {line}");
    }
    sections
}

fn named<'a>(sections: &'a [Section], kind: &str, name: &str) -> &'a BTreeMap<String, String> {
    let mut found = sections
        .iter()
        .filter(|(of, keys)| of == kind && keys.get("name").is_some_and(|is| is == name));
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert_eq!(found.next(), None, "more than one {kind} {name}");
    &one.1
}

#[test]
fn router_sends_everything_once_and_audit_records_also_to_s3() {
    let sections = sections();
    for (kind, keys) in &sections[1..] {
        assert!(keys.contains_key("name") && keys.contains_key("match"), "{kind} {keys:?}");
    }
    // The tag that ECS gives is the container's name in the task definition. Both rules below match
    // it.
    let logs = named(&sections, "OUTPUT", "cloudwatch_logs");
    let rewritten = named(&sections, "FILTER", "rewrite_tag");
    assert_eq!(logs["match"], "worker-firelens-*");
    assert_eq!(rewritten["match"], "worker-firelens-*");
    assert_eq!(rewritten["rule"], format!("$target ^{AUDIT}$ audit.$TAG true"));
    assert_eq!(named(&sections, "OUTPUT", "s3")["match"], "audit.*");
}

#[test]
fn router_retries_end_and_its_buffers_are_bounded() {
    let sections = sections();
    let outputs: Vec<_> = sections.iter().filter(|(kind, _)| kind == "OUTPUT").collect();
    assert_eq!(outputs.len(), 2);
    for (_, output) in outputs {
        let retries: u32 = output["retry_limit"].parse().expect("a number");
        assert!((1..=20).contains(&retries), "{output:?}");
    }
    assert!(named(&sections, "OUTPUT", "s3").contains_key("store_dir_limit_size"));
    assert!(named(&sections, "FILTER", "rewrite_tag").contains_key("emitter_mem_buf_limit"));
}

#[test]
fn router_uses_only_the_variables_that_its_head_names() {
    let file = text("deploy/fluent-bit.conf");
    let used: BTreeSet<_> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split("${").skip(1).filter_map(|rest| rest.split('}').next()))
        .collect();
    assert_eq!(used, BTreeSet::from(["AUDIT_BUCKET", "AUDIT_PREFIX", "AWS_REGION", "LOG_GROUP"]));
    for name in used.iter().filter(|name| **name != "AWS_REGION") {
        assert!(file.lines().any(|line| line.starts_with('#') && line.contains(name)), "{name}");
    }
}

/// The instruments by their OTLP names, with the values that docs/telemetry.md lists for each label.
fn instruments() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let page = text("docs/telemetry.md");
    let (_, page) = page.split_once("<!-- generated: metrics -->").expect("metrics");
    let quoted =
        |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let otlp = |name: &str| {
        let plain = name.strip_suffix("_total").or(name.strip_suffix("_seconds"));
        plain.unwrap_or(name).to_owned()
    };
    let mut instruments = BTreeMap::new();
    for line in page.lines() {
        let words = quoted(line);
        if line.starts_with("| `tagwarden_") {
            instruments.insert(otlp(&words[0]), BTreeMap::new());
        } else if line.starts_with("- `tagwarden_") {
            let values = words[2..].iter().cloned().collect();
            let labels = instruments.get_mut(&otlp(&words[0])).expect("a row before its labels");
            labels.insert(words[1].clone(), values);
        }
    }
    instruments
}

/// The alternatives between the brackets of `^tagwarden_(..|..)` or `^(..|..)`.
fn alternatives<'a>(line: &'a str, before: &str) -> BTreeSet<&'a str> {
    let rest = line.split_once(before).unwrap_or_else(|| panic!("no {before} in {line}")).1;
    rest.split_once(')').expect("an end").0.split('|').collect()
}

#[test]
fn collector_passes_each_existing_instrument_once() {
    let file = text("deploy/collector.yaml");
    let filter = file.lines().find(|line| line.contains("not IsMatch")).expect("the filter");
    let passed = alternatives(filter, "^tagwarden_(");
    let selectors = file.lines().filter_map(|line| line.trim().strip_prefix("- \"^tagwarden_"));
    let selectors: Vec<_> = selectors.filter_map(|rest| rest.strip_suffix('"')).collect();
    assert_eq!(
        selectors.iter().copied().collect::<BTreeSet<_>>(),
        passed,
        "the declared instruments equal the passed ones"
    );
    assert_eq!(selectors.len(), passed.len(), "one is declared twice");
    let known = instruments();
    for name in passed {
        // Selectors are prefixes of names.
        let matching: Vec<_> =
            known.keys().filter(|of| of.starts_with(&format!("tagwarden_{name}"))).collect();
        assert_eq!(matching, [&format!("tagwarden_{name}")]);
    }
}

#[test]
fn collector_matches_only_values_that_the_labels_have() {
    let file = text("deploy/collector.yaml");
    let known = instruments();
    let mut lines = file.lines();
    let mut checked = 0;
    while let Some(line) = lines.next() {
        let Some(name) = line.trim().strip_prefix("- \"^tagwarden_") else { continue };
        let instrument = format!("tagwarden_{}", name.trim_end_matches('"'));
        if !lines.clone().next().is_some_and(|next| next.contains("label_matchers")) {
            continue;
        }
        let label = lines.nth(1).and_then(|line| line.split(['[', ']']).nth(1)).expect("a label");
        let regex = lines.next().expect("a regex");
        for word in alternatives(regex, "^(") {
            assert!(known[&instrument][label].contains(word), "{instrument} {label} {word}");
            // Only the start of the pattern is anchored.
            let others = known[&instrument][label].iter();
            let begun = others.filter(|value| value.starts_with(word)).count();
            assert_eq!(begun, 1, "{instrument}: {label} {word} also lets others through");
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn collector_pipelines_use_every_definition_and_no_other() {
    let file = text("deploy/collector.yaml");
    let mut defined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut used = defined.clone();
    let mut section = "";
    for line in file.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim().split_once(':') else { continue };
        match (indent, section) {
            (0, _) => section = key,
            (2, "extensions" | "receivers" | "processors" | "exporters") => {
                defined.entry(section).or_default().insert(key);
            }
            (_, "service") if defined.contains_key(key) => {
                let names = value.trim().trim_matches(['[', ']']).split(", ");
                used.entry(key).or_default().extend(names);
            }
            _ => {}
        }
    }
    assert_eq!(used, defined);
    assert_eq!(defined.len(), 4);
}
