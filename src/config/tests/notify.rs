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
