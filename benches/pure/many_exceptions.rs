//! A policy with 2,000 exceptions: loading it, as a changed configuration file is, and judging.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tagwarden::config::{Settings, Sources};
use tagwarden::domain::evaluation::Subject;
use tagwarden::domain::findings::{Findings, SeverityCounts};
use tagwarden::domain::policy::{Fingerprint, Policy};

/// The exceptions of a policy for many accounts.
const MANY: usize = 2_000;

/// Measures with few and with many exceptions, of which the same twenty cover the findings.
pub(crate) fn measure(criterion: &mut Criterion, subject: &Subject<'_>) {
    let mut group = criterion.benchmark_group("exceptions");
    for count in [20, MANY] {
        let sources = sources(count);
        let load = || Settings::load(&sources).expect("a configuration").policy;
        let policy = load();
        assert_eq!(policy.exceptions.as_slice().len(), count);
        group.throughput(Throughput::Elements(count as u64));
        group.sample_size(10);
        group.bench_function(format!("load {count}"), |bencher| bencher.iter(load));
        group.bench_function(format!("fingerprint of {count}"), |bencher| {
            bencher.iter(|| Fingerprint::of(black_box(&policy)));
        });
        judge(&mut group, &policy, subject, count);
    }
    group.finish();
}

fn judge(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    policy: &Policy,
    subject: &Subject<'_>,
    count: usize,
) {
    let findings = Findings::new(SeverityCounts::default(), (0..1_000).map(crate::finding));
    let evaluation = policy.judge(subject, &findings);
    assert!(evaluation.violates());
    assert_eq!(evaluation.exceptions.len(), 20);
    group.throughput(Throughput::Elements(1_000));
    group.bench_function(format!("judge 1,000 findings by {count}"), |bencher| {
        bencher.iter(|| policy.judge(subject, black_box(&findings)));
    });
}

/// A configuration with this many exceptions. All name another finding, as those of many teams do;
/// the first twenty name findings that the image has.
fn sources(count: usize) -> Sources {
    let mut text = String::new();
    for number in 0..count {
        let year = if number < 20 { 2026 } else { 1999 };
        let _ = writeln!(
            text,
            "[[policy.exceptions]]\nid = \"CVE-{year}-{number:04}\"\nrepositories = [\"team/*\"]\n\
             package = \"lib*\"\nreason = \"not reachable: exception {number}\"\n\
             owner = \"security-{}@example.com\"\nexpires = \"2026-12-01\"",
            number % 60
        );
    }
    let variables = [
        ("TAGWARDEN_CONFIG_TEXT", text.as_str()),
        ("TAGWARDEN__POLICY__MODE", "audit"),
        ("TAGWARDEN__QUEUE__URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden"),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", "arn:aws:sns:eu-west-1:111122223333:tagwarden"),
    ];
    let environment: HashMap<_, _> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Sources { file: None, environment }
}
