mod documentation;
mod properties;
mod restoring;

use serde_json::Value;

use super::*;
use crate::domain::evaluation::Exceeded;
use crate::domain::findings::{Finding, Score, Severity};
use crate::domain::image_index::Child;
use crate::domain::names::{RepositoryName, Tag};
use crate::domain::notice::NoticeAction;
use crate::domain::policy::Mode;
use crate::notify::sample::{self, digest, notice, package, tags, texts};
use crate::notify::{NoticeTags, WayBack, notice_id};

/// The readers of the snapshots.
const TEAM: Audience<'static> = Audience {
    contact: Some("#platform-security, or security@example.com"),
    queue: Some("https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden"),
};
/// Readers who are told nothing but what happened.
const NOBODY: Audience<'static> = Audience { contact: None, queue: None };

const FORMATS: [NoticeFormat; 3] = [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat];

/// Returns all formats of a notice as people see them: the description for chat by itself, with its
/// line ends.
fn shown(notice: &Notice) -> String {
    let rendered = |format| render(notice, format, TEAM).body;
    let parsed = |format| serde_json::from_str::<Value>(&rendered(format)).unwrap();
    let mut chat = parsed(NoticeFormat::Chat);
    let description = chat["content"]["description"].take();
    format!(
        "{}\n{}\n--- json\n{:#}\n--- chat\n{chat:#}\n{}",
        render(notice, NoticeFormat::Text, NOBODY).subject,
        rendered(NoticeFormat::Text),
        parsed(NoticeFormat::Json),
        description.as_str().unwrap()
    )
}

/// Returns the notice of an image that exceeds the limits and keeps all its tags.
fn blocked(in_the_way: &[&str]) -> Notice {
    let mut notice = Notice { action: NoticeAction::Blocked, ..notice() };
    notice.tags = NoticeTags { kept: tags(&["prod", "1.2.3", "latest"]), ..NoticeTags::default() };
    notice.reasons.extend(texts(in_the_way));
    notice
}

#[test]
fn a_quarantined_image() {
    insta::assert_snapshot!(shown(&notice()));
}

#[test]
fn index_with_a_vulnerable_child() {
    let cause = Child { digest: digest("b"), platform: Some("linux/arm64/v8".to_owned()) };
    insta::assert_snapshot!(shown(&Notice {
        cause: Some(cause),
        media_type: Some("application/vnd.oci.image.index.v1+json".to_owned()),
        ..notice()
    }));
}

#[test]
fn blocked_by_keep_at_least() {
    insta::assert_snapshot!(shown(&blocked(&[
        "tag prod is protected by \"prod*\"",
        "only 2 other tagged images without a known violation are left, \
         and 3 must be (keep_at_least)",
    ])));
}

#[test]
fn about_to_be_removed_without_a_record() {
    let notice = Notice { way_back: WayBack::NoRoom, ..blocked(&["the repository is full"]) };
    let shown = shown(&notice);
    assert!(shown.contains("loses its tags next"), "{shown}");
    assert!(shown.contains("no room for a record of that: keep this notice"), "{shown}");
    assert!(!shown.contains("removed nothing"), "{shown}");
}

#[test]
fn blocked_by_in_use() {
    insta::assert_snapshot!(shown(&blocked(&["it is in use in 3 places (in_use)"])));
}

#[test]
fn blocked_by_a_pull_through_cache() {
    insta::assert_snapshot!(shown(&blocked(&[
        "the repository is a pull-through cache (team): the next pull would bring the tags back"
    ])));
}

#[test]
fn blocked_by_the_limits() {
    insta::assert_snapshot!(shown(&blocked(&[
        "limits.untags_per_hour of 10 is reached: this image waits until 2026-01-02T04:00:00Z, and \
         others like it wait too; you are notified of this once an hour",
    ])));
}

#[test]
fn partly_blocked_removal() {
    let mut notice = Notice { action: NoticeAction::Blocked, ..notice() };
    notice.tags.untagged = tags(&["1.2.3"]);
    notice.tags.kept = tags(&["prod", "latest"]);
    notice.reasons.push("tag latest: it is referenced by a manifest list".to_owned());
    insta::assert_snapshot!(shown(&notice));
}

#[test]
fn an_unscanned_image() {
    insta::assert_snapshot!(shown(&Notice {
        action: NoticeAction::Unscanned,
        tags: NoticeTags { kept: tags(&["1.2.3", "latest"]), ..NoticeTags::default() },
        counts: [].into_iter().collect(),
        reasons: texts(&["ECR's scan status is UNSUPPORTED_IMAGE"]),
        evaluation: None,
        ..notice()
    }));
}

#[test]
fn audit() {
    insta::assert_snapshot!(shown(&Notice {
        action: NoticeAction::WouldUntag,
        mode: Mode::Audit,
        tags: NoticeTags {
            kept: tags(&["prod"]),
            would_untag: tags(&["1.2.3", "latest"]),
            ..NoticeTags::default()
        },
        ..notice()
    }));
}

#[test]
fn a_deleted_image() {
    let mut notice = Notice { action: NoticeAction::Deleted, ..notice() };
    notice.tags.kept.clear();
    insta::assert_snapshot!(shown(&notice));
}

#[test]
fn over_reach_of_the_registry() {
    let mut notice = Notice { action: NoticeAction::Failed, ..notice() };
    notice.reasons.extend(texts(&[
        "over-reach: the registry also removed prod",
        "it was put back",
        "this worker removes nothing more until it is restarted",
    ]));
    insta::assert_snapshot!(shown(&notice));
}

#[test]
fn more_than_ten_findings() {
    let mut notice = notice();
    let evaluation = notice.evaluation.as_mut().unwrap();
    evaluation.worst = (1..=10)
        .map(|number| Finding {
            score: Score::new(f64::from(100 - number) / 10.0),
            ..Finding::new(format!("CVE-2026-{number:0>4}"), Severity::Critical)
        })
        .collect();
    let counts = [(Severity::Critical, 12), (Severity::High, 40), (Severity::Medium, 300)];
    evaluation.counted = counts.into_iter().collect();
    let limit = |severity, count| Exceeded { severity, count, limit: 0 };
    evaluation.exceeded = vec![limit(Severity::Critical, 12), limit(Severity::High, 40)];
    evaluation.reasons =
        texts(&["critical 12 exceeds the limit of 0", "high 40 exceeds the limit of 0"]);
    evaluation.notes.clear();
    notice.reasons = evaluation.reasons.clone();
    notice.counts = evaluation.counted.clone();
    insta::assert_snapshot!(shown(&notice));
}

#[test]
fn many_tags_are_cut_in_lists() {
    let mut notice = notice();
    notice.tags.untagged =
        (0..150).map(|number| Tag::parse(format!("build-{number:0>3}")).unwrap()).collect();
    insta::assert_snapshot!(shown(&notice));
}

#[test]
fn each_action_has_its_own_subject() {
    let subjects = NoticeAction::ALL
        .map(|action| render(&sample::of(action), NoticeFormat::Text, NOBODY).subject);
    insta::assert_snapshot!(subjects.join("\n"));
}

#[test]
fn attributes_serve_subscription_filters_and_none_is_empty() {
    let attributes = |notice: &Notice| render(notice, NoticeFormat::Text, NOBODY).attributes;
    let list = attributes(&notice()).into_iter().collect::<Vec<_>>();
    assert_eq!(
        list,
        [
            ("account", "111122223333".to_owned()),
            ("action", "quarantined".to_owned()),
            ("region", "eu-west-1".to_owned()),
            ("repository", "team/app".to_owned()),
            ("severity", "critical".to_owned()),
        ]
    );
    assert_eq!(attributes(&Notice { evaluation: None, ..notice() })["severity"], "none");
}

/// Returns the subject of a notice about removed tags.
fn subject(repository: &str, list: &[&str]) -> String {
    let mut notice = notice();
    notice.repository.name = RepositoryName::parse(repository).unwrap();
    notice.tags.untagged = tags(list);
    render(&notice, NoticeFormat::Text, NOBODY).subject
}

#[test]
fn subject_names_tags_first_and_leaves_out_what_does_not_fit() {
    let (long, tag) = ("team/".to_owned() + &"a".repeat(251), "1".repeat(128));
    let subjects = [
        subject("team/app", &["1.2.3"]),
        subject("team/app", &["1.2.3", "latest"]),
        subject("team/app", &["1.2.3", "latest", "stable"]),
        subject("team/app", &[]),
        subject("team/app", &[&tag]),
        subject("organisation/division/team/application-server", &["2026-11-30.1234", "latest"]),
        subject(&long, &["1.2.3"]),
        subject(&long, &[&tag, "latest"]),
    ];
    assert!(subjects.iter().all(|subject| subject.len() < 100), "{subjects:#?}");
    insta::assert_snapshot!(subjects.join("\n"));
}

#[test]
fn subject_counts_what_it_does_not_name() {
    let subject = |id: &str, counts: &[(Severity, u64)]| {
        let mut notice = notice();
        let evaluation = notice.evaluation.as_mut().unwrap();
        let limit = |&(severity, count): &(Severity, u64)| Exceeded { severity, count, limit: 0 };
        evaluation.exceeded = counts.iter().map(limit).collect();
        evaluation.worst = vec![Finding::new(id, counts[0].0)];
        render(&notice, NoticeFormat::Text, NOBODY).subject
    };
    let of = "team/app:1.2.3, latest quarantined: ";
    for (id, counts, shown) in [
        ("CVE-2026-1", &[(Severity::High, 1)][..], "CVE-2026-1 (high)"),
        ("CVE-2026-1", &[(Severity::High, 5)], "CVE-2026-1 (high), 4 more high"),
        (
            "CVE-2026-1",
            &[(Severity::Critical, 1), (Severity::High, 2)],
            "CVE-2026-1 (critical), 2 high",
        ),
        ("CVE-1\r\nBcc: x", &[(Severity::Critical, 3)], "3 critical"),
        ("CVE-\u{fc}", &[(Severity::Critical, 3)], "3 critical"),
        (&"x".repeat(99), &[(Severity::Critical, 3)], "3 critical"),
    ] {
        assert_eq!(subject(id, counts), format!("{of}{shown}"), "{id:?}");
    }
}

#[test]
fn too_large_notice_is_cut_and_says_so() {
    let mut notice = notice();
    let many = (0..1000).map(|number| Tag::parse(format!("{number:0>300}")).unwrap());
    notice.tags.untagged = many.collect();
    notice.tags.kept = notice.tags.untagged.clone();
    notice.evaluation.as_mut().unwrap().worst =
        vec![Finding::new("x".repeat(2000), Severity::Critical); 101];
    for format in FORMATS {
        let body = render(&notice, format, NOBODY).body;
        assert!(body.len() <= MAX_BYTES, "{format:?}: {}", body.len());
        match format {
            NoticeFormat::Json => {
                let document: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(
                    document["cut"],
                    serde_json::json!({
                        "tags.untagged": 900, "tags.kept": 900, "worst": 1,
                    })
                );
                assert_eq!(document["tags"]["untagged"].as_array().unwrap().len(), 100);
                let id = document["worst"][0]["id"].as_str().unwrap();
                assert!(id.len() == 1000 && id.ends_with("..."), "{id}");
            }
            NoticeFormat::Text => {
                assert!(body.contains("and 980 more"), "{body}");
            }
            NoticeFormat::Chat => assert!(body.contains(" and 997 more"), "{body}"),
        }
    }
}

#[test]
fn chat_fits_whatever_is_long() {
    let long = "&".repeat(500);
    let mut notice = Notice { action: NoticeAction::Blocked, ..notice() };
    notice.repository.name = RepositoryName::parse("a".repeat(256)).unwrap();
    notice.tags.untagged =
        (0..9).map(|number| Tag::parse(format!("{number:0>300}")).unwrap()).collect();
    notice.cause = Some(Child { digest: digest("b"), platform: Some(long.clone()) });
    notice.reasons.extend(vec![long.clone(); 9]);
    let evaluation = notice.evaluation.as_mut().unwrap();
    evaluation.rule.clone_from(&long);
    for finding in &mut evaluation.worst {
        finding.id.clone_from(&long);
        finding.link = Some(format!("https://a.example/{}", "&".repeat(150)));
        finding.packages = vec![package(&long, &long, Some(&long)); 9];
    }
    let chat =
        render(&notice, NoticeFormat::Chat, Audience { contact: Some(&long), queue: Some(&long) })
            .body;
    let chat: Value = serde_json::from_str(&chat).unwrap();
    let description = chat["content"]["description"].as_str().unwrap();
    let length = description.chars().count();
    assert!(length <= 2900, "{length}: {description}");
}

#[test]
fn only_findings_that_exceed_a_limit_are_listed() {
    let mut notice = notice();
    let evaluation = notice.evaluation.as_mut().unwrap();
    evaluation.counted.add(Severity::Medium, 7);
    evaluation.worst.push(Finding::new("CVE-2026-MEDIUM", Severity::Medium));
    for format in [NoticeFormat::Text, NoticeFormat::Chat] {
        let body = render(&notice, format, NOBODY).body;
        assert!(body.contains("CVE-2026-0001") && body.contains("CVE-2026-0002"), "{body}");
        assert!(!body.contains("CVE-2026-MEDIUM") && !body.contains("medium"), "{body}");
    }
}

#[test]
fn people_do_not_need_the_words_of_the_code() {
    for action in NoticeAction::ALL {
        let notice = sample::of(action);
        for format in [NoticeFormat::Text, NoticeFormat::Chat] {
            let mut body = render(&notice, format, NOBODY).body;
            if format == NoticeFormat::Chat {
                let mut chat: Value = serde_json::from_str(&body).unwrap();
                // Programs read the keywords and the type.
                body = chat["content"]["title"].take().to_string();
                body += chat["content"]["description"].as_str().unwrap();
            }
            assert!(!body.to_lowercase().contains("untag"), "{body}");
        }
    }
}

#[test]
fn id_depends_only_on_image_and_event() {
    let notice = notice();
    let id = |event| notice_id(&notice.repository, &notice.digest, event);
    assert_eq!(id("event-1"), notice.id);
    assert_ne!(id("event-2"), notice.id);
    assert_eq!(notice.id.len(), 64);
}
