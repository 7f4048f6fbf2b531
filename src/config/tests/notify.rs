use super::*;
use crate::domain::notice::NoticeAction::{Blocked, Failed};

fn topics(text: &str, variables: &[(&str, &str)]) -> Vec<TopicSettings> {
    let given = [
        (TEXT_VARIABLE, text),
        ("TAGWARDEN__QUEUE__URL", QUEUE),
        ("TAGWARDEN__POLICY__MODE", "audit"),
    ];
    let sources = only(&[&given, variables].concat());
    Settings::load(&sources).unwrap().notify.topics
}

const SECURITY: &str = "arn:aws:sns:us-east-1:444455556666:security";

#[test]
fn topics_alone_are_enough() {
    let topics = topics(&format!("[[notify.topics]]\narn = '{SECURITY}'"), &[]);
    let [topic] = topics.as_slice() else { panic!("one topic") };
    assert_eq!((topic.arn.as_str(), topic.region.as_str()), (SECURITY, "us-east-1"));
    assert_eq!(topic.format, NoticeFormat::Text);
    assert!(topic.repositories.admit("any/repository"));
    assert_eq!(topic.actions, NoticeAction::ALL.into());
}

#[test]
fn the_topic_comes_first_and_topics_inherit_its_format() {
    let text = format!(
        r#"
        [notify]
        format = "json"
        [[notify.topics]]
        arn = "{SECURITY}"
        repositories = ["team/*"]
        actions = ["failed", "blocked"]
        [[notify.topics]]
        arn = "{TOPIC}-chat"
        format = "chat"
        "#
    );
    let topic = ("TAGWARDEN__NOTIFY__TOPIC_ARN", TOPIC);
    let seen = |variables: &[(&str, &str)]| {
        let topics = topics(&text, variables).into_iter();
        topics.map(|topic| (topic.arn, topic.format)).collect::<Vec<_>>()
    };
    let chat = format!("{TOPIC}-chat");
    assert_eq!(
        seen(&[topic]),
        [
            (TOPIC.to_owned(), NoticeFormat::Json),
            (SECURITY.to_owned(), NoticeFormat::Json),
            (chat.clone(), NoticeFormat::Chat)
        ]
    );
    assert_eq!(
        seen(&[("TAGWARDEN__NOTIFY__FORMAT", "text")]),
        [(SECURITY.to_owned(), NoticeFormat::Text), (chat, NoticeFormat::Chat)],
        "what a variable says is inherited too"
    );
    let topics = topics(&text, &[topic]);
    assert!(topics[1].repositories.admit("team/app") && !topics[1].repositories.admit("other"));
    assert_eq!(topics[1].actions, [Blocked, Failed].into());
}

#[test]
fn a_worker_without_any_topic_does_not_start() {
    let given = [("TAGWARDEN__QUEUE__URL", QUEUE), ("TAGWARDEN__POLICY__MODE", "audit")];
    let error = Settings::load(&only(&given)).unwrap_err();
    assert!(one_line(&error).starts_with("notify.topic_arn: is missing; "), "{error}");
}

fn contact(text: &str) -> Result<Option<String>, ConfigError> {
    Settings::load(&sources(&[("TAGWARDEN__NOTIFY__CONTACT", text)]))
        .map(|settings| settings.notify.topics[0].contact.clone())
}

#[test]
fn every_topic_names_the_contact() {
    let text = format!(
        "[notify]\ncontact = ' #security, or security@example.com '\n\
         [[notify.topics]]\narn = '{SECURITY}'"
    );
    for topic in topics(&text, &[("TAGWARDEN__NOTIFY__TOPIC_ARN", TOPIC)]) {
        assert_eq!(topic.contact.as_deref(), Some("#security, or security@example.com"));
    }
    assert_eq!(contact("  ").unwrap(), None);
}

#[test]
fn contact_is_one_visible_line_of_at_most_500_characters() {
    let longest = "\u{e9}".repeat(500);
    assert_eq!(contact(&longest).unwrap(), Some(longest.clone()));
    for wrong in [format!("{longest}x"), "a\nb".to_owned(), "a\u{202e}b".to_owned()] {
        let error = one_line(&contact(&wrong).unwrap_err());
        assert!(error.starts_with("notify.contact: is "), "{error}");
        assert!(error.contains("expected one line of at most 500 visible characters"), "{error}");
    }
}
