use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::super::findings::{Package, Score};
use super::super::globs::Globs;
use super::super::limits::Limits;
use super::super::policy::Rule;
use super::*;
use crate::domain::exception::tests::exception;
use crate::domain::names::sample;
use crate::domain::registries::Registries;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-01T00:00:00Z").unwrap()
}

fn repository() -> Repository {
    sample::repository("team/app")
}

fn digest(of: char) -> Digest {
    Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
}

fn judged(policy: &Policy, list: Vec<Finding>) -> Evaluation {
    judged_as(policy, &[&digest('a')], Some(now() - DAY), list)
}

fn judged_as(
    policy: &Policy,
    digests: &[&Digest],
    pushed_at: Option<SystemTime>,
    list: Vec<Finding>,
) -> Evaluation {
    let subject = Subject { repository: &repository(), digests, pushed_at, now: now() };
    policy.judge(&subject, &Findings::new(SeverityCounts::default(), list))
}

fn counted(policy: &Policy, counts: &[(Severity, u64)]) -> Evaluation {
    let subject = Subject { repository: &repository(), digests: &[], pushed_at: None, now: now() };
    policy.judge(&subject, &Findings::new(counts.iter().copied().collect(), vec![]))
}

/// Returns a policy with the default limits and changed terms.
fn terms(change: impl FnOnce(&mut RuleSettings)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy.base);
    policy
}

fn excepting(exception: Exception) -> Policy {
    Policy { exceptions: [exception].into_iter().collect(), ..Policy::default() }
}

fn critical() -> Finding {
    Finding {
        packages: vec![Package { name: "openssl".to_owned(), installed: None, fixed: None }],
        score: Score::new(7.5),
        fixable: Some(false),
        exploitable: Some(false),
        first_observed: Some(now() - 3 * DAY),
        ..Finding::new("CVE-2026-1", Severity::Critical)
    }
}

#[test]
fn one_critical_or_high_finding_violates_the_default_policy() {
    let policy = Policy::default();
    let evaluation = counted(&policy, &[(Severity::Critical, 1), (Severity::High, 4)]);
    let reasons = ["critical 1 exceeds the limit of 0", "high 4 exceeds the limit of 0"];
    assert_eq!(evaluation.reasons, reasons);
    assert_eq!(evaluation.severity, Some(Severity::Critical));
    assert!(counted(&policy, &[(Severity::High, 1)]).violates());
    assert!(!counted(&policy, &[(Severity::Medium, 900)]).violates());
}

#[test]
fn count_at_its_limit_does_not_violate() {
    let policy = terms(|terms| terms.limits = Limits::new([(Severity::High, 3)]));
    assert!(!counted(&policy, &[(Severity::High, 3)]).violates());
    assert!(counted(&policy, &[(Severity::High, 4)]).violates());
    assert!(!counted(&policy, &[(Severity::Critical, 9)]).violates(), "Critical has no limit");
}

#[test]
fn each_key_alone_leaves_a_finding_out_and_says_why() {
    let why = |policy: &Policy| {
        let evaluation = judged(policy, vec![critical()]);
        assert!(!evaluation.violates(), "{evaluation:?}");
        assert!(evaluation.worst.is_empty(), "only findings that count are among the worst");
        evaluation.notes.join("\n")
    };
    assert!(judged(&Policy::default(), vec![critical()]).violates());
    let fixable = terms(|terms| terms.fixable_only = [Severity::Critical].into());
    assert_eq!(why(&fixable), "critical 1 does not count: no fix is available (fixable_only)");
    let score = terms(|terms| terms.min_score = Score::new(8.0));
    assert_eq!(why(&score), "critical 1 does not count: the score is below 8.0 (min_score)");
    let exploit = terms(|terms| terms.exploit_only = true);
    assert_eq!(why(&exploit), "critical 1 does not count: no exploit is known (exploit_only)");
    let grace = terms(|terms| terms.grace = Some(7 * DAY));
    assert_eq!(why(&grace), "critical 1 does not count: known for less than 7days (grace)");
    assert_eq!(
        why(&excepting(exception("CVE-2026-*"))),
        "critical 1 does not count: excepted by CVE-2026-* until 2026-12-01 \
         (security: not reachable)"
    );
}

#[test]
fn findings_that_exceed_a_limit_are_listed_before_worse_ones_within_theirs() {
    let policy =
        terms(|base| base.limits = Limits::new([(Severity::Critical, 20), (Severity::High, 0)]));
    let mut list: Vec<_> =
        (0..12).map(|at| Finding::new(format!("CVE-{at:0>2}"), Severity::Critical)).collect();
    list.push(Finding::new("CVE-HIGH", Severity::High));
    let evaluation = judged(&policy, list);
    let exceeded = [Exceeded { severity: Severity::High, count: 1, limit: 0 }];
    assert_eq!(evaluation.exceeded, exceeded);
    let named: Vec<_> = evaluation.worst.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(named.len(), 10);
    assert_eq!((named[0], named[8], named[9]), ("CVE-00", "CVE-08", "CVE-HIGH"));
}

#[test]
fn worst_ten_of_the_findings_that_count_are_listed() {
    let mut list: Vec<_> =
        (10..22).map(|at| Finding::new(format!("CVE-{at}"), Severity::High)).collect();
    list.push(critical());
    let evaluation = judged(&excepting(exception("CVE-10")), list);
    let named: Vec<_> = evaluation.worst.iter().map(|finding| finding.id.as_str()).collect();
    let high = (11..20).map(|at| format!("CVE-{at}"));
    assert_eq!(named, ["CVE-2026-1".to_owned()].into_iter().chain(high).collect::<Vec<_>>());
    let next: Vec<_> = evaluation.next_worst.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(next, ["CVE-20", "CVE-21"]);
}

#[test]
fn twenty_findings_are_kept_for_a_record() {
    let list = (10..60).map(|at| Finding::new(format!("CVE-{at}"), Severity::High)).collect();
    let evaluation = judged(&Policy::default(), list);
    let kept = evaluation.worst.iter().chain(&evaluation.next_worst).map(|one| one.id.clone());
    assert_eq!(
        kept.collect::<Vec<_>>(),
        (10..30).map(|at| format!("CVE-{at}")).collect::<Vec<_>>()
    );
}

#[test]
fn finding_counts_if_the_key_does_not_apply_to_it() {
    let violates = |policy: &Policy, change: &dyn Fn(&mut Finding)| {
        let mut finding = critical();
        change(&mut finding);
        judged(policy, vec![finding]).violates()
    };
    let fixable = terms(|terms| terms.fixable_only = [Severity::Critical].into());
    assert!(violates(&fixable, &|finding| finding.fixable = Some(true)));
    assert!(violates(&fixable, &|finding| finding.fixable = None), "not known to lack a fix");
    let other = terms(|terms| terms.fixable_only = [Severity::High].into());
    assert!(violates(&other, &|_| {}), "of another severity");
    let score = terms(|terms| terms.min_score = Score::new(7.5));
    assert!(violates(&score, &|_| {}), "as high as asked for");
    assert!(violates(&score, &|finding| finding.score = None), "not known to be lower");
    let exploit = terms(|terms| terms.exploit_only = true);
    assert!(violates(&exploit, &|finding| finding.exploitable = Some(true)));
    assert!(violates(&exploit, &|finding| finding.exploitable = None), "nothing is known");
}

#[test]
fn grace_begins_at_first_observation_or_else_at_the_push() {
    let policy = terms(|terms| terms.grace = Some(3 * DAY));
    let violates = |observed: Option<Duration>, pushed: Option<Duration>| {
        let finding = Finding { first_observed: observed.map(|age| now() - age), ..critical() };
        let pushed = pushed.map(|age| now() - age);
        judged_as(&policy, &[], pushed, vec![finding]).violates()
    };
    assert!(violates(Some(3 * DAY), Some(DAY)));
    assert!(!violates(Some(3 * DAY - Duration::from_secs(1)), Some(30 * DAY)));
    assert!(violates(None, Some(3 * DAY)));
    assert!(!violates(None, Some(2 * DAY)));
    assert!(violates(None, None), "of unknown age");
}

#[test]
fn exception_covers_only_what_it_names_and_only_until_its_day() {
    let violates = |change: &dyn Fn(&mut Exception), digests: &[&Digest]| {
        let mut exception = exception("CVE-2026-1");
        change(&mut exception);
        judged_as(&excepting(exception), digests, None, vec![critical()]).violates()
    };
    let (image, index, other) = (digest('a'), digest('b'), digest('c'));
    let globs = |pattern: &str| Globs::new([pattern.to_owned()]).unwrap();
    assert!(!violates(&|_| {}, &[&image]));
    assert!(violates(&|one| one.id = globs("CVE-2026-2"), &[&image]));
    assert!(violates(&|one| one.package = globs("zlib"), &[&image]));
    assert!(!violates(&|one| one.package = globs("open*"), &[&image]));
    assert!(violates(&|one| one.repositories = globs("other/*"), &[&image]));
    assert!(!violates(&|one| one.repositories = globs("team/*"), &[&image]));
    assert!(violates(&|one| one.digest = Some(other.clone()), &[&image, &index]));
    assert!(!violates(&|one| one.digest = Some(index.clone()), &[&image, &index]));
    assert!(violates(
        &|one| one.expires = super::super::exception::Day::parse("2026-11-01").unwrap(),
        &[&image]
    ));
}

#[test]
fn only_an_exception_for_the_whole_image_covers_unlisted_findings() {
    let image = digest('a');
    let mut exception = exception("CVE-2026-1");
    exception.id = Globs::default();
    exception.digest = Some(image.clone());
    let subject =
        Subject { repository: &repository(), digests: &[&image], pushed_at: None, now: now() };
    let more = Findings::new([(Severity::Critical, 2)].into_iter().collect(), vec![critical()]);
    let evaluation = excepting(exception.clone()).judge(&subject, &more);
    assert!(!evaluation.violates());
    assert_eq!(evaluation.exceptions.iter().map(|id| id.position()).collect::<Vec<_>>(), [0]);
    exception.id = Globs::new(["*".to_owned()]).unwrap();
    let evaluation = excepting(exception).judge(&subject, &more);
    assert_eq!(evaluation.reasons, ["critical 1 exceeds the limit of 0"]);
    assert_eq!(evaluation.exceptions.iter().map(|id| id.position()).collect::<Vec<_>>(), [0]);
}

#[test]
fn rule_of_the_repository_sets_the_terms() {
    let lenient = RuleSettings {
        limits: Limits::default().with(Severity::Critical, None),
        ..RuleSettings::default()
    };
    let policy = Policy {
        rules: [Rule {
            name: "lenient".to_owned(),
            repositories: Globs::new(["team/*".to_owned()]).unwrap(),
            registries: Registries::default(),
            sets_mode: false,
            terms: lenient,
        }]
        .into_iter()
        .collect(),
        ..Policy::default()
    };
    let evaluation = judged(&policy, vec![critical()]);
    assert!(!evaluation.violates());
    assert_eq!(evaluation.rule, "lenient");
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let severity = (0..Severity::ALL.len()).prop_map(|at| Severity::ALL[at]);
    let packages = prop::collection::vec("[ab]", 0..3);
    let truth = || prop::option::of(any::<bool>());
    (severity, "CVE-[1-4]", packages, prop::option::of(0..=100_u8), truth(), truth(), 0..10_u32)
        .prop_map(|(severity, id, packages, score, fixable, exploitable, days)| Finding {
            packages: packages
                .into_iter()
                .map(|name| Package { name, installed: None, fixed: None })
                .collect(),
            score: score.and_then(|score| Score::new(f64::from(score) / 10.0)),
            fixable,
            exploitable,
            first_observed: (days > 0).then(|| now() - days * DAY),
            ..Finding::new(id, severity)
        })
}

fn any_exception() -> impl Strategy<Value = Exception> {
    ("CVE-[1-4*]", prop::option::of("[ab*]"), any::<bool>(), any::<bool>()).prop_map(
        |(id, package, here, expired)| Exception {
            package: Globs::new(package).unwrap(),
            repositories: Globs::new(here.then(|| "team/*".to_owned())).unwrap(),
            expires: super::super::exception::Day::parse(if expired {
                "2026-10-31"
            } else {
                "2026-11-02"
            })
            .unwrap(),
            ..exception(&id)
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let limits = prop::collection::vec((0..Severity::ALL.len(), 0..4_u64), 0..7);
    let fixable = prop::collection::btree_set((0..3_usize).prop_map(|at| Severity::ALL[at]), 0..3);
    let exceptions = prop::collection::vec(any_exception(), 0..4);
    let score = prop::option::of(0..=100_u8);
    (limits, fixable, score, any::<bool>(), prop::option::of(0..9_u32), exceptions).prop_map(
        |(limits, fixable, score, exploit_only, grace, exceptions)| {
            let limits = limits.into_iter().map(|(at, limit)| (Severity::ALL[at], limit));
            let mut policy = terms(|terms| {
                terms.limits = Limits::new(limits);
                terms.fixable_only = fixable;
                terms.min_score = score.and_then(|score| Score::new(f64::from(score) / 10.0));
                terms.exploit_only = exploit_only;
                terms.grace = grace.map(|days| days * DAY);
            });
            policy.exceptions = exceptions.into_iter().collect();
            policy
        },
    )
}

fn any_findings() -> impl Strategy<Value = Vec<Finding>> {
    prop::collection::vec(any_finding(), 0..8)
}

proptest! {
    #[test]
    fn more_findings_never_turn_an_untag_into_a_keep(
        policy in any_policy(), before in any_findings(), more in any_findings(),
        summary in prop::collection::vec((0..Severity::ALL.len(), 0..5_u64), 0..4),
    ) {
        let summary: SeverityCounts =
            summary.into_iter().map(|(at, count)| (Severity::ALL[at], count)).collect();
        let subject = Subject {
            repository: &repository(), digests: &[], pushed_at: Some(UNIX_EPOCH), now: now(),
        };
        let before = Findings::new(summary, before);
        let mut after = before.clone();
        for finding in more {
            after.counts.add(finding.severity, 1);
            after.list.extend([finding]);
        }
        prop_assert!(
            !policy.judge(&subject, &before).violates() || policy.judge(&subject, &after).violates()
        );
    }

    #[test]
    fn exception_never_turns_a_keep_into_an_untag(
        policy in any_policy(), exception in any_exception(), list in any_findings(),
    ) {
        let without = judged(&policy, list.clone());
        let mut with = policy.clone();
        let exceptions = with.exceptions.as_slice().iter().cloned();
        with.exceptions = exceptions.chain([exception]).collect();
        prop_assert!(without.violates() || !judged(&with, list).violates());
    }

    #[test]
    fn order_of_findings_does_not_matter(policy in any_policy(), list in any_findings()) {
        let reversed: Vec<_> = list.iter().rev().cloned().collect();
        prop_assert_eq!(judged(&policy, list), judged(&policy, reversed));
    }

    #[test]
    fn counts_that_clear_an_image_never_violate(
        policy in any_policy(),
        counts in prop::collection::vec((0..Severity::ALL.len(), 0..5_u64), 0..9),
    ) {
        use super::super::policy::Reporting;
        let counts: Vec<_> =
            counts.into_iter().map(|(at, count)| (Severity::ALL[at], count)).collect();
        let evaluation = counted(&policy, &counts);
        let counts: SeverityCounts = counts.into_iter().collect();
        for reporting in [Reporting::AbsentIsZero, Reporting::AbsentIsUnknown] {
            prop_assert!(!policy.base.clear(&counts, reporting) || !evaluation.violates());
        }
    }
}
