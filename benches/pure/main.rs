//! What the parts without I/O take: parsing, judging, planning, rendering.
//!
//! `cargo bench -p bench-pure` measures. Without `--bench`, as `cargo test -p bench-pure` runs it,
//! everything is done once, and what comes of it is held against what is meant to be measured.
#![expect(clippy::expect_used, reason = "a measurement that cannot go on has failed")]

mod many_exceptions;

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use tagwarden::domain::evaluation::{Evaluation, Exceeded, Subject};
use tagwarden::domain::exception::{Day, Exception};
use tagwarden::domain::findings::{Finding, Findings, Package, Score, Severity, SeverityCounts};
use tagwarden::domain::globs::Globs;
use tagwarden::domain::image::{Image, ImageKind, StorageStatus};
use tagwarden::domain::names::{
    AccountId, Digest, Region, RegistryId, Repository, RepositoryName, Tag,
};
use tagwarden::domain::notice::NoticeAction;
use tagwarden::domain::origin::Origin;
use tagwarden::domain::plan::Plan;
use tagwarden::domain::policy::{Fingerprint, Mode, Policy, Reporting, Rule, RuleSettings};
use tagwarden::domain::registries::Registries;
use tagwarden::event::{self, Parsed};
use tagwarden::notify::render::{Audience, render};
use tagwarden::notify::{Notice, NoticeFormat, NoticeTags, WayBack, notice_id};

/// Noon of 2026-01-02: before the exceptions expire.
const NOW: Duration = Duration::from_secs(1_767_355_200);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parsing(&mut criterion);
    judging(&mut criterion);
    planning(&mut criterion);
    rendering(&mut criterion);
    criterion.final_summary();
}

fn parsing(criterion: &mut Criterion) {
    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("../../tests/fixtures/", $name, ".json"))
        };
    }
    let critical = fixture!("basic.complete.critical_high");
    let events = [
        ("clean", fixture!("basic.complete.zero_counts"), "assess"),
        ("critical and high", critical, "assess"),
        ("150 tags", fixture!("basic.complete.150_tags"), "assess"),
        ("Inspector2 Scan", fixture!("inspector2_scan.critical"), "assess"),
        ("Inspector2 Finding", fixture!("inspector2_finding.active.critical"), "assess"),
        ("not for us", fixture!("other.ecr_replication_action"), "ignored"),
        ("malformed", &critical.replace("sha256:", "sha1:"), "malformed"),
        ("no event", "this is no event", "malformed"),
    ];
    let own = repository().registry_id();
    let mut group = criterion.benchmark_group("parse");
    for (name, body, becomes) in events {
        assert_eq!(what_becomes_of(body, &own), becomes, "{name}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| event::parse(black_box(body), &own)));
    }
    group.finish();
}

fn judging(criterion: &mut Criterion) {
    let policy = policy();
    let repository = repository();
    let counts: SeverityCounts =
        Severity::ALL.into_iter().skip(2).map(|severity| (severity, 9)).collect();
    let at_a_glance = |counts: &SeverityCounts| {
        policy.terms(&repository).1.clear(counts, Reporting::AbsentIsZero)
    };
    assert!(at_a_glance(&counts));

    let digest = digest();
    let subject = Subject {
        repository: &repository,
        digests: &[&digest],
        pushed_at: None,
        now: SystemTime::UNIX_EPOCH + NOW,
    };
    let findings = Findings::new(counts.clone(), (0..1_000).map(finding));
    let evaluation = policy.judge(&subject, &findings);
    assert!(evaluation.violates());
    assert_eq!((evaluation.rule.as_str(), evaluation.exceptions.len()), ("rule 9", 20));

    let mut group = criterion.benchmark_group("judge");
    group.bench_function("counts at a glance", |bencher| {
        bencher.iter(|| at_a_glance(black_box(&counts)));
    });
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 findings, 20 exceptions, 10 rules", |bencher| {
        bencher.iter(|| policy.judge(&subject, black_box(&findings)));
    });
    group.finish();
    many_exceptions::measure(criterion, &subject);
}

fn planning(criterion: &mut Criterion) {
    let image = Image {
        digest: digest(),
        tags: (0..150).map(tag).collect(),
        kind: ImageKind::Image,
        storage: StorageStatus::Active,
        pushed_at: None,
        size: None,
        media_type: None,
    };
    let terms =
        RuleSettings { protected_tags: globs(&["prod-*", "v14?"]), ..RuleSettings::default() };
    let plan = Plan::new(&terms, &image, 0);
    assert_eq!((plan.untag.len(), plan.kept.len()), (140, 10));
    criterion.bench_function("plan/150 tags", |bencher| {
        bencher.iter(|| Plan::new(&terms, black_box(&image), 0));
    });
}

fn rendering(criterion: &mut Criterion) {
    let notice = notice();
    let mut group = criterion.benchmark_group("render");
    let formats =
        [("text", NoticeFormat::Text), ("json", NoticeFormat::Json), ("chat", NoticeFormat::Chat)];
    for (name, format) in formats {
        assert!(
            render(&notice, format, Audience::default()).body.contains("CVE-2026-0000"),
            "{name}"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| render(black_box(&notice), format, Audience::default()));
        });
    }
    group.finish();
}

fn what_becomes_of(body: &str, own: &RegistryId) -> &'static str {
    match event::parse(body, own) {
        Ok(Parsed::Assess(_)) => "assess",
        Ok(Parsed::Sweep(_)) => "sweep",
        Ok(Parsed::Restore { .. }) => "restore",
        Ok(Parsed::Ignored { .. }) => "ignored",
        Err(_) => "malformed",
    }
}

/// Ten rules, of which the last is this repository's; twenty exceptions, each covers ten of the thousand findings.
fn policy() -> Policy {
    let rule = |number| Rule {
        name: format!("rule {number}"),
        repositories: if number < 9 {
            globs(&[&format!("other-{number}/*")])
        } else {
            globs(&["team/*"])
        },
        registries: Registries::default(),
        sets_mode: false,
        terms: RuleSettings::default(),
    };
    let exception = |number| Exception {
        id: globs(&[&format!("CVE-2026-0{number:02}?")]),
        digest: None,
        package: if number < 10 { Globs::default() } else { globs(&["lib*"]) },
        repositories: globs(&["team/*"]),
        registries: Registries::default(),
        reason: "not reachable".to_owned(),
        owner: "security".to_owned(),
        expires: Day::parse("2026-12-01").expect("a day"),
    };
    Policy {
        rules: (0..10).map(rule).collect(),
        exceptions: (0..20).map(exception).collect(),
        ..Policy::default()
    }
}

/// As enhanced scanning tells of it.
fn finding(number: usize) -> Finding {
    let severity = Severity::ALL.into_iter().cycle().nth(number);
    let mut finding = Finding::new(format!("CVE-2026-{number:04}"), severity.expect("a severity"));
    finding.score = Score::new(7.5);
    finding.link = Some(format!("https://nvd.nist.gov/vuln/detail/{}", finding.id));
    finding.packages = vec![Package {
        name: format!("lib{number}"),
        installed: Some("3.0.1-r0".to_owned()),
        fixed: Some("3.0.2-r1".to_owned()),
    }];
    finding.fixable = Some(true);
    finding
}

/// Of a quarantined image with two tags and ten findings that count.
fn notice() -> Notice {
    let (repository, digest) = (repository(), digest());
    let worst: Vec<_> = (0..10).map(finding).collect();
    let evaluation = Evaluation {
        rule: "base".to_owned(),
        counted: [(Severity::Critical, 4), (Severity::High, 6)].into_iter().collect(),
        exceeded: vec![Exceeded { severity: Severity::Critical, count: 4, limit: 0 }],
        reasons: vec!["critical 4 exceeds the limit of 0".to_owned()],
        notes: vec!["high 2 do not count: no fix is available (fixable_only)".to_owned()],
        severity: Some(Severity::Critical),
        worst,
        next_worst: vec![],
        exceptions: vec![],
    };
    Notice {
        id: notice_id(&repository, &digest, "event-1"),
        action: NoticeAction::Quarantined,
        mode: Mode::Enforce,
        policy: Fingerprint::of(&Policy::default()),
        media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        cause: None,
        tags: NoticeTags {
            untagged: vec![tag(1), tag(2)],
            quarantine: Some(Tag::quarantine(&digest)),
            ..NoticeTags::default()
        },
        way_back: WayBack::default(),
        answer: None,
        counts: evaluation.counted.clone(),
        reasons: evaluation.reasons.iter().chain(&evaluation.notes).cloned().collect(),
        evaluation: Some(evaluation),
        event: Origin {
            id: Some("event-1".to_owned()),
            source: "aws.ecr".to_owned(),
            detail_type: "ECR Image Scan".to_owned(),
            time: Some("2026-01-02T03:04:05Z".to_owned()),
            at: None,
        },
        event_id: "event-1".to_owned(),
        repository,
        digest,
    }
}

fn repository() -> Repository {
    Repository {
        account: AccountId::parse("111122223333").expect("an account"),
        region: Region::parse("eu-west-1").expect("a Region"),
        name: RepositoryName::parse("team/app").expect("a name"),
    }
}

fn digest() -> Digest {
    Digest::parse(format!("sha256:{}", "a".repeat(64))).expect("a digest")
}

fn tag(number: usize) -> Tag {
    Tag::parse(format!("v{number:03}")).expect("a tag")
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns.iter().map(ToString::to_string)).expect("patterns")
}
