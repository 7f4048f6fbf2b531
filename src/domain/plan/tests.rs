use proptest::prelude::*;

use super::super::findings::{Package, Score, Severity};
use super::super::globs::Globs;
use super::super::limits::Limits;
use super::super::names::sample;
use std::time::SystemTime;

use super::*;
use crate::domain::image::{ImageKind, StorageStatus};
use crate::domain::names::Digest;

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns.iter().map(ToString::to_string)).unwrap()
}

fn image(tags: &[&str]) -> Image {
    Image {
        digest: Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap(),
        tags: tags.iter().map(|text| tag(text)).collect(),
        kind: ImageKind::Image,
        storage: StorageStatus::Active,
        pushed_at: None,
        size: None,
        media_type: None,
    }
}

fn findings(critical: u64) -> Findings {
    Findings::new([(Severity::Critical, critical)].into_iter().collect(), Vec::new())
}

fn decided(policy: &Policy, scan: &Scan, claimed: Claimed<'_>) -> Decision {
    let repository = sample::repository("team/app");
    let now = SystemTime::UNIX_EPOCH;
    let subject = Subject { repository: &repository, digests: &[], pushed_at: None, now };
    decide(policy, &subject, scan, claimed)
}

#[test]
fn plan_removes_all_tags_but_protected_ones_and_the_mark() {
    let terms = RuleSettings { protected_tags: globs(&["prod-*"]), ..RuleSettings::default() };
    let own = format!("quarantine-{}", "a".repeat(64));
    let foreign = format!("quarantine-{}", "b".repeat(64));
    let plan = Plan::new(&terms, &image(&["1.0", "prod-eu", &own, &foreign, "latest"]), 0);
    assert_eq!(
        plan.untag,
        [tag("1.0"), tag(&foreign), tag("latest")],
        "a mark hides its own image only"
    );
    assert_eq!(plan.kept, [tag("prod-eu")]);
    assert_eq!(plan.kept_because[0], r#"tag prod-eu is protected by "prod-*""#);
    assert!(plan.marked);
    assert_eq!(plan.quarantine, tag(&own));
}

#[test]
fn plan_removes_only_tags_that_the_rule_names() {
    let terms = RuleSettings { tags: globs(&["dev-*", "pr-*"]), ..RuleSettings::default() };
    let plan = Plan::new(&terms, &image(&["dev-1", "1.0"]), 0);
    assert_eq!(plan.untag, [tag("dev-1")]);
    assert_eq!(plan.kept_because, ["tag 1.0 is not among the rule's tags"]);
}

#[test]
fn plan_deletes_the_image_only_if_no_tag_is_kept() {
    let delete = |terms: &RuleSettings, tags: &[&str]| Plan::new(terms, &image(tags), 0).delete;
    let mut terms = RuleSettings::default();
    assert!(!delete(&terms, &["1.0"]));
    terms.action = Action::Delete;
    assert!(delete(&terms, &["1.0"]));
    terms.protected_tags = globs(&["1.*"]);
    assert!(!delete(&terms, &["1.0", "2.0"]));
}

#[test]
fn image_in_use_is_held_only_with_in_use_block() {
    let mut terms = RuleSettings::default();
    assert_eq!(Plan::new(&terms, &image(&["1.0"]), 3).blockers, Vec::<String>::new());
    terms.in_use = InUse::Block;
    assert_eq!(Plan::new(&terms, &image(&["1.0"]), 0).blockers, Vec::<String>::new());
    let blockers = Plan::new(&terms, &image(&["1.0"]), 3).blockers;
    assert_eq!(blockers, ["it is in use in 3 places (in_use)"]);
}

#[test]
fn mark_and_referrer_tags_do_not_make_an_image_tagged() {
    let mark = format!("quarantine-{}", "a".repeat(64));
    let foreign = format!("quarantine-{}", "b".repeat(64));
    let signature = format!("sha256-{}.sig", "b".repeat(64));
    for tags in [&["1.0"][..], &[&mark, "1.0"], &[&signature, "1.0"], &[&foreign]] {
        assert!(image(tags).is_tagged(), "{tags:?}");
        assert!(!image(tags).is_referrer(), "{tags:?}");
    }
    let none: [&[&str]; 3] = [&[], &[&mark], &[&mark, &signature]];
    for tags in none {
        assert!(!image(tags).is_tagged(), "{tags:?}");
        assert!(!image(tags).is_referrer(), "{tags:?}");
    }
    assert!(!image(&[&signature]).is_tagged());
    assert!(image(&[&signature]).is_referrer());
}

#[test]
fn artifact_or_archived_or_untagged_image_is_not_pullable() {
    let pullable =
        |kind, storage, tags: &[&str]| Image { kind, storage, ..image(tags) }.is_pullable();
    assert!(pullable(ImageKind::Image, StorageStatus::Active, &["1.0"]));
    assert!(pullable(ImageKind::Index, StorageStatus::Active, &["1.0"]));
    assert!(!pullable(ImageKind::Artifact, StorageStatus::Active, &["1.0"]));
    assert!(!pullable(ImageKind::Image, StorageStatus::Archived, &["1.0"]));
    assert!(!pullable(ImageKind::Image, StorageStatus::Activating, &["1.0"]));
    assert!(!pullable(ImageKind::Image, StorageStatus::Active, &[]));
}

#[test]
fn lag_of_enhanced_scanning_waits_and_completed_basic_scan_does_not() {
    let policy = Policy::default();
    let three: SeverityCounts = [(Severity::Critical, 3)].into_iter().collect();
    let finding = Finding::new("CVE-1", Severity::High);
    let wait = Decision::Wait("ECR shows fewer findings than the event".to_owned());
    for claimed in [Claimed::Counts(&three, Scanning::Enhanced), Claimed::Finding(&finding)] {
        assert_eq!(decided(&policy, &Scan::Active(findings(0)), claimed), wait);
        assert_eq!(decided(&policy, &Scan::Complete(findings(0)), claimed), wait);
    }
    let basic = Claimed::Counts(&three, Scanning::Basic);
    let complete = decided(&policy, &Scan::Complete(findings(0)), basic);
    assert!(matches!(complete, Decision::Keep(_)));
    let nothing = decided(&policy, &Scan::Active(findings(0)), Claimed::Nothing);
    assert!(matches!(nothing, Decision::Keep(_)));
    let pending = decided(&policy, &Scan::Pending("PENDING".into()), Claimed::Nothing);
    assert_eq!(pending, Decision::Wait("ECR's scan is PENDING".into()));
}

#[test]
fn excepted_finding_is_not_lag() {
    let exceptions = [crate::domain::exception::tests::exception("CVE-1")].into_iter().collect();
    let policy = Policy { exceptions, ..Policy::default() };
    let finding = Finding::new("CVE-1", Severity::Critical);
    let one: SeverityCounts = [(Severity::Critical, 1)].into_iter().collect();
    let two: SeverityCounts = [(Severity::Critical, 2)].into_iter().collect();
    let shown = Scan::Active(Findings::new(SeverityCounts::default(), vec![finding.clone()]));
    let empty = Scan::Active(Findings::default());
    let keeps = |scan, claimed| matches!(decided(&policy, scan, claimed), Decision::Keep(_));
    assert!(keeps(&shown, Claimed::Counts(&one, Scanning::Enhanced)));
    assert!(!keeps(&shown, Claimed::Counts(&two, Scanning::Enhanced)), "ECR lacks the second");
    assert!(keeps(&shown, Claimed::Finding(&finding)));
    assert!(keeps(&empty, Claimed::Finding(&finding)), "excepted, whenever it appears");
}

#[test]
fn version_of_the_event_replaces_ecrs_version_of_a_finding() {
    let terms = |change: fn(&mut RuleSettings)| {
        let mut policy = Policy::default();
        change(&mut policy.base);
        policy
    };
    let of = |severity| Finding::new("CVE-1", severity);
    let package = |name: &str| Package { name: name.to_owned(), installed: None, fixed: None };
    let in_package = |name| Finding { packages: vec![package(name)], ..of(Severity::Critical) };
    let mut excepted = crate::domain::exception::tests::exception("CVE-1");
    excepted.package = globs(&["openssl"]);
    let cases = [
        (Policy::default(), of(Severity::Medium), of(Severity::Critical)),
        (
            terms(|terms| terms.fixable_only = [Severity::High].into()),
            Finding { fixable: Some(false), ..of(Severity::High) },
            Finding { fixable: Some(true), ..of(Severity::High) },
        ),
        (
            terms(|terms| terms.exploit_only = true),
            Finding { exploitable: Some(false), ..of(Severity::High) },
            Finding { exploitable: Some(true), ..of(Severity::High) },
        ),
        (
            terms(|terms| terms.min_score = Score::new(7.0)),
            Finding { score: Score::new(5.0), ..of(Severity::High) },
            Finding { score: Score::new(9.0), ..of(Severity::High) },
        ),
        (
            Policy { exceptions: [excepted].into_iter().collect(), ..Policy::default() },
            in_package("openssl"),
            in_package("zlib"),
        ),
    ];
    for (policy, shown, claimed) in cases {
        let scan = Scan::Active(Findings::new(SeverityCounts::default(), [shown.clone()]));
        let by = |claimed: &Finding| decided(&policy, &scan, Claimed::Finding(claimed));
        assert!(matches!(by(&claimed), Decision::Wait(_)), "{claimed:?}");
        assert!(matches!(by(&shown), Decision::Keep(_)), "ECR shows {shown:?}");
    }
    let scan = Scan::Active(Findings::new(SeverityCounts::default(), [of(Severity::Low)]));
    let better = of(Severity::Medium);
    let decision = decided(&Policy::default(), &scan, Claimed::Finding(&better));
    assert!(matches!(decision, Decision::Keep(_)), "worse, but within the limits");
}

#[test]
fn closed_finding_that_the_event_reopens_is_lag() {
    let closed = [(Severity::Critical, 1)].into_iter().collect();
    let closed = Findings::with_inactive(SeverityCounts::default(), FindingList::default(), closed);
    let scan = Scan::Active(closed);
    let finding = Finding::new("CVE-1", Severity::Critical);
    let decision = decided(&Policy::default(), &scan, Claimed::Finding(&finding));
    assert!(matches!(decision, Decision::Wait(_)));
    let decision = decided(&Policy::default(), &scan, Claimed::Nothing);
    assert!(matches!(decision, Decision::Keep(_)));
}

#[test]
fn fields_that_the_event_leaves_out_come_from_ecr() {
    let day = std::time::Duration::from_secs(24 * 3600);
    let mut policy = Policy::default();
    policy.base.grace = Some(14 * day);
    policy.base.fixable_only = [Severity::High].into();
    let repository = sample::repository("team/app");
    let now = SystemTime::UNIX_EPOCH + 100 * day;
    let pushed_at = Some(now - 30 * day);
    let subject = Subject { repository: &repository, digests: &[], pushed_at, now };
    let keeps = |shown: Finding, claimed: Finding| {
        let scan = Scan::Active(Findings::new(SeverityCounts::default(), [shown]));
        let decision = decide(&policy, &subject, &scan, Claimed::Finding(&claimed));
        matches!(decision, Decision::Keep(_))
    };
    let of = |severity| Finding::new("CVE-1", severity);
    let new = Finding { first_observed: Some(now - day), ..of(Severity::Critical) };
    assert!(keeps(new, of(Severity::Critical)), "in grace, although the image is old");
    let old = Some(now - 20 * day);
    let unfixed = Finding { fixable: Some(false), first_observed: old, ..of(Severity::High) };
    assert!(keeps(unfixed.clone(), of(Severity::High)), "without a fix, as far as is known");
    assert!(!keeps(unfixed, Finding { fixable: Some(true), ..of(Severity::High) }));
}

#[test]
fn event_replaces_the_most_similar_of_two_findings_with_one_id() {
    let limit = Policy {
        base: RuleSettings {
            limits: Limits::new([(Severity::Critical, 1)]),
            ..RuleSettings::default()
        },
        ..Policy::default()
    };
    let of = |severity| Finding::new("CVE-1", severity);
    let shown = [of(Severity::Critical), of(Severity::Low)];
    let scan = Scan::Active(Findings::new(SeverityCounts::default(), shown));
    let critical = of(Severity::Critical);
    let decision = decided(&limit, &scan, Claimed::Finding(&critical));
    assert!(matches!(decision, Decision::Keep(_)), "ECR shows it already");
}

#[test]
fn event_replaces_the_less_severe_of_two_findings_with_one_id() {
    let limit = Policy {
        base: RuleSettings {
            limits: Limits::new([(Severity::High, 1)]),
            ..RuleSettings::default()
        },
        ..Policy::default()
    };
    let of = |severity| Finding::new("CVE-1", severity);
    let shown = [of(Severity::High), of(Severity::Low)];
    let scan = Scan::Active(Findings::new(SeverityCounts::default(), shown));
    let package = Package { name: "zlib".to_owned(), installed: None, fixed: None };
    let high = Finding { packages: vec![package], ..of(Severity::High) };
    let decision = decided(&limit, &scan, Claimed::Finding(&high));
    assert!(matches!(decision, Decision::Wait(_)));
}

#[test]
fn image_with_too_many_findings_is_never_clean() {
    let cut = |critical: u64, findings: &[Finding]| {
        let summary = [(Severity::Critical, critical)].into_iter().collect();
        Scan::Complete(Findings { is_cut: true, ..Findings::new(summary, findings.to_vec()) })
    };
    let policy = Policy::default();
    let of = |scan: &Scan| decided(&policy, scan, Claimed::Nothing);
    assert!(matches!(
        of(&cut(0, &[Finding::new("CVE-1", Severity::High)])),
        Decision::Violation(_)
    ));
    assert!(matches!(of(&cut(1, &[])), Decision::Violation(_)), "by the first page's counts");
    let low = cut(0, &[Finding::new("CVE-1", Severity::Low)]);
    let Decision::Unscanned(why) = of(&low) else { panic!("{:?}", of(&low)) };
    assert!(why.starts_with("too many findings"), "{why}");
    let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
    let mut whole = crate::domain::exception::tests::exception("CVE-1");
    (whole.id, whole.digest) = (Globs::default(), Some(digest.clone()));
    let policy = Policy { exceptions: [whole].into_iter().collect(), ..Policy::default() };
    let repository = sample::repository("team/app");
    let (digests, now) = ([&digest], SystemTime::UNIX_EPOCH);
    let subject = Subject { repository: &repository, digests: &digests, pushed_at: None, now };
    let decision = decide(&policy, &subject, &low, Claimed::Nothing);
    assert!(matches!(decision, Decision::Keep(_)), "the whole image is excepted");
}

#[test]
fn deciding_in_steps_gives_the_same_decision() {
    let policy = Policy::default();
    let list = (0..25).map(|at| Finding::new(format!("CVE-{at}"), Severity::Low));
    let scan = Scan::Active(Findings::new(SeverityCounts::default(), list));
    let claimed = Finding::new("CVE-7", Severity::Critical);
    let claimed = Claimed::Finding(&claimed);
    let repository = sample::repository("team/app");
    let now = SystemTime::UNIX_EPOCH;
    let subject = Subject { repository: &repository, digests: &[], pushed_at: None, now };
    let mut deciding = Deciding::new(&policy, subject, &scan, claimed);
    let mut steps = 1;
    let decision = loop {
        match deciding.step(10) {
            Some(decision) => break decision,
            None => steps += 1,
        }
    };
    assert_eq!((decision, steps), (decide(&policy, &subject, &scan, claimed), 6));
}

#[test]
fn unavailable_scan_is_unscanned_and_never_clean() {
    let scan = Scan::Unavailable("SCAN_ELIGIBILITY_EXPIRED".into());
    assert_eq!(
        decided(&Policy::default(), &scan, Claimed::Nothing),
        Decision::Unscanned("ECR's scan status is SCAN_ELIGIBILITY_EXPIRED".into())
    );
}

proptest! {
    #[test]
    fn plan_never_removes_a_protected_tag(
        tags in prop::collection::btree_set("[a-z][a-z0-9.-]{0,6}", 0..12),
        protected in prop::collection::vec("[a-z][a-z0-9]{0,2}\\*?", 0..4),
        may_go in prop::collection::vec("[a-z][a-z0-9]{0,2}\\*?", 0..4),
    ) {
        let terms = RuleSettings {
            protected_tags: Globs::new(protected).unwrap(),
            tags: Globs::new(may_go).unwrap(),
            ..RuleSettings::default()
        };
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        let image = image(&tags);
        let plan = Plan::new(&terms, &image, 0);
        for tag in &plan.untag {
            prop_assert!(terms.protected_tags.matching(tag.as_str()).is_none());
            prop_assert!(terms.tags.admit(tag.as_str()));
        }
        prop_assert_eq!(plan.untag.len() + plan.kept.len(), image.tags.len());
    }

    #[test]
    fn order_of_tags_does_not_matter(
        tags in prop::collection::btree_set("[a-z][a-z0-9.-]{0,6}", 0..12),
    ) {
        let protected_tags = globs(&["a*", "*1"]);
        let terms = RuleSettings { protected_tags, ..RuleSettings::default() };
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        let reversed: Vec<_> = tags.iter().rev().copied().collect();
        let sorted = |tags: &[&str]| {
            let mut plan = Plan::new(&terms, &image(tags), 0);
            plan.untag.sort();
            plan.kept.sort();
            plan.kept_because.sort();
            plan
        };
        prop_assert_eq!(sorted(&tags), sorted(&reversed));
    }
}
