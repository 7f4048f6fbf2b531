use super::*;
use crate::domain::names::{AccountId, Region};
use crate::notify::NoticeFormat;
use crate::notify::render::Rendered;

fn census(counts: &[(Coverage, u64)]) -> Census {
    let mut census = Census::default();
    counts.iter().for_each(|(coverage, images)| census.add(*coverage, *images));
    census
}

fn share(name: &str, counts: &[(Coverage, u64)]) -> Share {
    Share { repository: RepositoryName::parse(name).unwrap(), census: census(counts) }
}

fn summary() -> Summary {
    let (account, region) = (AccountId::parse("111122223333"), Region::parse("eu-west-1"));
    Summary {
        sweep: "7bf73129-1428-4cd3-a780-95db273d1602".to_owned(),
        registry_id: RegistryId { account: account.unwrap(), region: region.unwrap() },
        began: Some("2026-01-02T03:04:05Z".to_owned()),
        swept: 3,
        repositories: 3,
        census: census(&[
            (Coverage::Clean, 120),
            (Coverage::Untag, 2),
            (Coverage::NeverScanned, 7),
            (Coverage::Archived, 1),
        ]),
        before: Some(census(&[(Coverage::Clean, 118), (Coverage::NeverScanned, 7)])),
        mode: Mode::Enforce,
        worst: Share::worst(vec![
            share("team/good", &[(Coverage::Clean, 100)]),
            share("team/dark", &[(Coverage::NeverScanned, 7)]),
            share("team/bad", &[(Coverage::Untag, 2), (Coverage::Clean, 20)]),
        ]),
        cut: BTreeSet::new(),
        is_late: false,
    }
}

#[test]
fn summary_renders_in_each_format() {
    for (name, format) in
        [("text", NoticeFormat::Text), ("json", NoticeFormat::Json), ("chat", NoticeFormat::Chat)]
    {
        let Rendered { subject, body, attributes } =
            summary().render(format, Some("#platform, or platform@example.com"));
        let body = match serde_json::from_str::<Value>(&body) {
            Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
            Err(_) => body,
        };
        insta::assert_snapshot!(name, format!("{subject}\n{attributes:?}\n\n{body}"));
    }
}

#[test]
fn worst_repositories_sort_by_violations_then_by_gaps() {
    let shares = (0..20).map(|number| {
        share(
            &format!("r{number}"),
            &[(Coverage::Blocked, number / 2), (Coverage::Expired, number)],
        )
    });
    let worst = Share::worst(shares.collect());
    let names: Vec<_> = worst.iter().map(|share| share.repository.as_str()).collect();
    assert_eq!(names, ["r19", "r18", "r17", "r16", "r15", "r14", "r13", "r12", "r11", "r10"]);
    assert_eq!(Share::worst(vec![share("clean", &[(Coverage::Clean, 5)])]), []);
}

#[test]
fn headline_mentions_missing_repositories_and_no_change() {
    let mut summary = summary();
    summary.swept = 1;
    assert!(
        summary.headline().contains("2 repositories have not answered"),
        "{}",
        summary.headline()
    );
    summary.swept = 3;
    summary.census = census(&[(Coverage::Clean, 118), (Coverage::NeverScanned, 7)]);
    assert!(summary.headline().contains("Nothing has changed"), "{}", summary.headline());
    summary.before = None;
    assert!(!summary.headline().contains("Nothing has changed"), "{}", summary.headline());
}

#[test]
fn subject_is_short_for_any_counts() {
    let mut summary = summary();
    summary.census = census(&[(Coverage::Untag, u64::MAX), (Coverage::Expired, u64::MAX)]);
    assert!(summary.subject().len() < 100, "{}", summary.subject());
}

#[test]
fn first_ten_cut_repositories_are_named() {
    let mut summary = summary();
    assert!(!summary.headline().contains("only in part"), "{}", summary.headline());
    let name = |number: usize| RepositoryName::parse(format!("r{number:02}")).unwrap();
    summary.cut = [name(1)].into();
    assert!(summary.headline().ends_with("too many images: r01."), "{}", summary.headline());
    summary.cut = (0..12).map(name).collect();
    assert!(summary.headline().ends_with("r08, r09, and 2 more."), "{}", summary.headline());
    assert_eq!(summary.document(None)["cut"].as_array().map(Vec::len), Some(10));
}

#[test]
fn different_numbers_have_different_ids_and_late_results_are_marked() {
    let summary = summary();
    assert_eq!(summary.id(), Summary { before: None, ..summary.clone() }.id());
    let fewer = Summary { swept: 2, ..summary.clone() };
    let late = Summary { swept: 1, is_late: true, ..summary.clone() };
    let others = Summary { census: census(&[(Coverage::Clean, 1)]), ..summary.clone() };
    let later = Summary { began: Some("2026-01-03T03:04:05Z".to_owned()), ..summary.clone() };
    let another = Summary { sweep: "x".to_owned(), ..summary.clone() };
    let ids = [&summary, &fewer, &late, &others, &later, &another].map(Summary::id);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6, "{ids:?}");
    let said =
        "if a summary of sweep 7bf73129-1428-4cd3-a780-95db273d1602 was sent, they add to it";
    assert!(late.headline().contains(said), "{}", late.headline());
    assert!(!late.headline().contains("have not answered"), "{}", late.headline());
    assert_eq!(late.document(None)["adds_to"], late.sweep);
    assert!(late.subject().contains(" eu-west-1 (late): "), "{}", late.subject());
    assert_eq!(summary.document(None)["adds_to"], Value::Null);
}
