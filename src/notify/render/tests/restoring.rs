//! What notices say of ways to give tags back, and of requests to do so.

use std::time::Duration;

use super::*;
use crate::event::restore::{RestoreAction, RestoreOrder};
use crate::notify::{Advice, AnsweredRefusal, HoldAnswer, LeftTag, RestoreAnswer, WayBack};

const DAY: Duration = Duration::from_secs(24 * 3600);
const BY_HOLD: WayBack =
    WayBack::Restore { longest_hold: Some(Duration::from_secs(7 * 24 * 3600)) };

#[test]
fn quarantined_image_whose_tags_the_worker_gives_back() {
    let way_back = BY_HOLD;
    insta::assert_snapshot!(shown(&Notice { way_back, ..notice() }));
}

/// Returns what the text and the chat of a notice with this way back say of it.
fn way_back(way_back: WayBack) -> String {
    let notice = Notice { way_back, ..notice() };
    let text = render(&notice, NoticeFormat::Text, TEAM).body;
    let text = text.split("Get it back: ").nth(1).unwrap().split("Ask: ").next().unwrap();
    let chat = render(&notice, NoticeFormat::Chat, TEAM).body;
    let chat: Value = serde_json::from_str(&chat).unwrap();
    let chat = chat["content"]["description"].as_str().unwrap();
    let chat = chat.lines().find(|line| line.starts_with("*Get it back:*")).unwrap();
    format!("{way_back:?}\n{text}{chat}\n")
}

#[test]
fn each_way_back_is_said_in_words() {
    let ways = [
        BY_HOLD,
        WayBack::Restore { longest_hold: Some(DAY) },
        WayBack::Restore { longest_hold: None },
        WayBack::ByHand,
        WayBack::RecordsOff,
        WayBack::NoRoom,
    ];
    insta::assert_snapshot!(ways.map(way_back).join("\n"));
}

#[test]
fn each_answer_says_what_was_done_and_what_to_do() {
    let asked = |answer: RestoreAnswer, action| {
        let answer = Some(Box::new(answer));
        let notice = Notice { answer, action, evaluation: None, ..sample::restored() };
        let notice = Notice { reasons: vec![], way_back: BY_HOLD, ..notice };
        let rendered = render(&notice, NoticeFormat::Text, NOBODY);
        format!("{}\n{}", rendered.subject, rendered.body.split("\nDetails").next().unwrap())
    };
    let new = || RestoreAnswer::new("request-1", "AROAEXAMPLEID12345678");
    let done = [
        RestoreAnswer { restored: tags(&["1.0"]), ..new() },
        RestoreAnswer { present: tags(&["1.0", "1.1"]), superseded: tags(&["2.0"]), ..new() },
        RestoreAnswer { hold: HoldAnswer::Held(sample::hold()), present: tags(&["1.0"]), ..new() },
        RestoreAnswer { hold: HoldAnswer::Already(sample::hold()), ..new() },
        RestoreAnswer { hold: HoldAnswer::Withdrawn, ..new() },
    ];
    let advice = [
        Advice::AskForHold,
        Advice::AskSomebodyElse,
        Advice::AskAgain,
        Advice::AskOtherwise,
        Advice::ByHand,
        Advice::Nothing,
    ];
    let refused = advice.map(|advice| RestoreAnswer {
        asked: tags(&["1.0"]),
        refusal: Some(AnsweredRefusal { reason: "of some reason".to_owned(), advice }),
        ..new()
    });
    let done = done.into_iter().map(|answer| asked(answer, NoticeAction::Restored));
    let refused = refused.into_iter().map(|answer| asked(answer, NoticeAction::Refused));
    insta::assert_snapshot!(done.chain(refused).collect::<Vec<_>>().join("\n---\n"));
}

#[test]
fn reason_of_a_refusal_is_said_once() {
    let mut notice = sample::refused();
    let refusal = notice.answer.as_ref().unwrap().refusal.clone().unwrap();
    notice.evaluation = None;
    notice.reasons = vec![refusal.reason.clone(), "another".to_owned()];
    let body = render(&notice, NoticeFormat::Text, NOBODY).body;
    assert_eq!(body.matches(&refusal.reason).count(), 1, "{body}");
    assert!(body.contains("Note: another"), "{body}");
}

#[test]
fn notice_that_is_the_only_list_names_every_removed_tag() {
    let mut notice = notice();
    let tag = |at: usize| Tag::parse(format!("{at:0>128}")).unwrap();
    notice.tags.untagged = (0..990).map(tag).collect();
    notice.tags.claimed = (990..1000).map(tag).collect();
    let worst = &mut notice.evaluation.as_mut().unwrap().worst;
    *worst = vec![Finding::new("x".repeat(20_000), Severity::Critical); 10];
    for (way_back, is_whole) in [
        (WayBack::RecordsOff, true),
        (WayBack::NoRoom, true),
        (WayBack::ByHand, false),
        (BY_HOLD, false),
    ] {
        let notice = Notice { way_back, ..notice.clone() };
        for format in [NoticeFormat::Text, NoticeFormat::Json] {
            let body = render(&notice, format, NOBODY).body;
            assert!(body.len() <= MAX_BYTES, "{way_back:?} {format:?}: {}", body.len());
            let named = (0..1000).filter(|&at| body.contains(tag(at).as_str())).count();
            assert_eq!(named == 1000, is_whole, "{way_back:?} {format:?}: {named}");
        }
    }
}

#[test]
fn too_large_answer_is_cut_and_says_so() {
    let mut notice = sample::restored();
    let answer = notice.answer.as_mut().unwrap();
    let many: Vec<_> = (0..1000).map(|at| Tag::parse(format!("{at:0>300}")).unwrap()).collect();
    answer.left =
        many.iter().cloned().map(|tag| LeftTag { tag, reason: "r".repeat(300) }).collect();
    answer.restored = many;
    for format in FORMATS {
        let body = render(&notice, format, TEAM).body;
        assert!(body.len() <= MAX_BYTES, "{format:?}: {}", body.len());
        let cut = match format {
            NoticeFormat::Json => r#""cut":{"answer.left":900,"answer.restored":900}"#,
            NoticeFormat::Text => "and 980 more",
            NoticeFormat::Chat => " and 99",
        };
        assert!(body.contains(cut), "{body}");
    }
}

/// Returns the variables of custom actions in a notice for chat.
fn variables(notice: &Notice, audience: Audience<'_>) -> Value {
    let chat = render(notice, NoticeFormat::Chat, audience).body;
    let chat: Value = serde_json::from_str(&chat).unwrap();
    let context = &chat["metadata"]["additionalContext"];
    let variable = |name: &str| context.get(name).cloned().unwrap_or_default();
    serde_json::json!([variable("RestoreQueue"), variable("RestoreMessage")])
}

#[test]
fn custom_action_of_a_channel_can_ask_for_the_tags_and_for_no_hold() {
    let restore = |holds: bool| {
        let way_back = WayBack::Restore { longest_hold: holds.then_some(DAY) };
        Notice { way_back, ..notice() }
    };
    let order = RestoreOrder {
        request: None,
        repository: notice().repository,
        digest: notice().digest,
        action: RestoreAction::GiveBack { tags: None },
    };
    for holds in [false, true] {
        let found = variables(&restore(holds), TEAM);
        assert_eq!(found, serde_json::json!([TEAM.queue.unwrap(), order.body()]));
    }
    let none = serde_json::json!([null, null]);
    assert_eq!(variables(&restore(true), NOBODY), none);
    assert_eq!(variables(&notice(), TEAM), none, "the worker takes no requests");
    for action in [NoticeAction::WouldUntag, NoticeAction::Unscanned] {
        let mut notice = Notice { action, ..restore(true) };
        notice.tags.untagged.clear();
        assert_eq!(variables(&notice, TEAM), none, "no tag was removed");
    }
    let deleted = Notice { action: NoticeAction::Deleted, ..restore(true) };
    assert_eq!(variables(&deleted, TEAM), none, "there is no image");
    assert_eq!(variables(&sample::refused(), TEAM), none, "it needs a hold");
    let long = "q".repeat(601);
    let cut = Audience { queue: Some(&long), ..TEAM };
    assert_eq!(variables(&restore(true), cut), none, "a cut address leads nowhere");
}

#[test]
fn longest_restore_message_is_a_variable() {
    let mut notice = Notice { way_back: BY_HOLD, ..notice() };
    notice.repository.name = RepositoryName::parse("a".repeat(256)).unwrap();
    let message = variables(&notice, TEAM)[1].as_str().unwrap().to_owned();
    assert!(message.len() <= 600, "{}", message.len());
    assert!(!message.contains("until"), "{message}");
}

#[test]
fn tags_given_back_and_a_hold() {
    insta::assert_snapshot!(shown(&sample::restored()));
}

#[test]
fn a_refused_request() {
    insta::assert_snapshot!(shown(&sample::refused()));
}
