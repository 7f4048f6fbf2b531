use serde_json::Value;

use super::super::{NoticeTags, notice_id};
use super::*;
use crate::domain::findings::Severity;
use crate::domain::image::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::Judgement;

fn tags(list: &[&str]) -> Vec<Tag> {
    list.iter().map(|tag| Tag::parse(*tag).unwrap()).collect()
}

fn notice() -> Notice {
    let repository = Repository {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
        name: RepositoryName::parse("team/app").unwrap(),
    };
    let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
    let finding = |id: &str, severity, fixed: Option<&str>| Finding {
        severity,
        id: id.to_owned(),
        package: Some("openssl".to_owned()),
        installed: Some("3.0.1".to_owned()),
        fixed: fixed.map(str::to_owned),
    };
    Notice {
        id: notice_id(&repository, &digest, "event-1"),
        action: NoticeAction::Quarantined,
        mode: Mode::Enforce,
        tags: NoticeTags {
            untagged: tags(&["1.2.3", "latest"]),
            claimed: vec![],
            kept: tags(&["prod"]),
            would_untag: vec![],
            quarantine: Some(Tag::quarantine(&digest)),
        },
        counts: [(Severity::Critical, 1), (Severity::High, 4)].into_iter().collect(),
        findings: vec![
            finding("CVE-2026-0001", Severity::Critical, Some("3.0.2")),
            finding("CVE-2026-0002", Severity::High, None),
        ],
        reasons: vec![
            "critical 1 is over the limit of 0".to_owned(),
            "high 4 is over the limit of 0".to_owned(),
        ],
        judgement: Some(Judgement {
            rule: "base",
            reasons: vec![],
            worst: Some(Severity::Critical),
        }),
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

fn pretty(body: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<Value>(body).unwrap()).unwrap()
}

#[test]
fn a_person_reads_what_happened_to_which_image_and_why() {
    let rendered = render(&notice(), NoticeFormat::Text);
    insta::assert_snapshot!(format!("{}\n---\n{}", rendered.subject, rendered.body));
}

#[test]
fn a_program_reads_the_versioned_document() {
    insta::assert_snapshot!(pretty(&render(&notice(), NoticeFormat::Json).body));
}

#[test]
fn chat_gets_the_custom_notification_of_amazon_q_developer() {
    insta::assert_snapshot!(pretty(&render(&notice(), NoticeFormat::Chat).body));
}

#[test]
fn each_action_has_its_own_subject() {
    let subjects: Vec<_> = [
        NoticeAction::Quarantined,
        NoticeAction::Deleted,
        NoticeAction::WouldUntag,
        NoticeAction::Blocked,
        NoticeAction::Unscanned,
        NoticeAction::Failed,
    ]
    .into_iter()
    .map(|action| render(&Notice { action, ..notice() }, NoticeFormat::Text).subject)
    .collect();
    insta::assert_snapshot!(subjects.join("\n"));
}

#[test]
fn attributes_serve_subscription_filters_and_none_is_empty() {
    let attributes = |notice: &Notice| render(notice, NoticeFormat::Text).attributes;
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
    assert_eq!(attributes(&Notice { judgement: None, ..notice() })["severity"], "none");
}

#[test]
fn the_subject_stays_under_100_characters_whatever_the_repository_is_called() {
    let mut notice = notice();
    notice.repository.name = RepositoryName::parse("a".repeat(256)).unwrap();
    let subject = render(&notice, NoticeFormat::Text).subject;
    assert_eq!(subject.len(), 99);
    assert!(subject.is_ascii() && !subject.contains(char::is_control));
}

#[test]
fn a_thousand_long_tags_are_cut_to_what_sns_takes_and_the_cut_is_said() {
    let mut notice = notice();
    let many = (0..1000).map(|number| Tag::parse(format!("{number:0>300}")).unwrap());
    notice.tags.untagged = many.collect();
    notice.tags.kept = notice.tags.untagged.clone();
    for format in [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat] {
        let body = render(&notice, format).body;
        assert!(body.len() < 262_144 - 1024, "{format:?}: {}", body.len());
        match format {
            NoticeFormat::Json => {
                let document: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(document["cut"]["tags.untagged"], 900);
                assert_eq!(document["tags"]["untagged"].as_array().unwrap().len(), 100);
            }
            _ => assert!(body.contains("and 980 more"), "{body}"),
        }
    }
}

#[test]
fn the_id_depends_on_the_image_and_the_event_and_on_nothing_else() {
    let notice = notice();
    let id = |event| notice_id(&notice.repository, &notice.digest, event);
    assert_eq!(id("event-1"), notice.id);
    assert_ne!(id("event-2"), notice.id);
    assert_eq!(notice.id.len(), 64);
}
