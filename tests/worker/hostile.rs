//! What the team reads about an image whose findings contain such texts.

use aws_sim::{ApiError, Fault, FaultRule, Finding, Published, ScanResult};
use serde_json::{Value, json};

use super::support::{QUEUE, World, basic};
use super::texts::{texts, unseen};

const TOPICS: [(&str, &str); 3] =
    [("mail", "format = 'text'"), ("programs", "format = 'json'"), ("channel", "format = 'chat'")];

fn world() -> World {
    World::new().with_topics(&TOPICS)
}

/// The notices of the three topics.
fn notices(world: &World) -> [Vec<Published>; 3] {
    let arn = |name: &str| world.topic.replace(":team", &format!(":{name}"));
    TOPICS.map(|(name, _)| world.sim.notices(&arn(name)))
}

/// The requirements of SNS for a subject (API reference, Publish), and of subscription filters for
/// the attributes.
fn check_envelope(notice: &Published) {
    let subject = notice.subject.as_deref().expect("a subject");
    assert!(subject.len() < 100, "{subject}");
    assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{subject}");
    assert!(subject.starts_with(|c: char| c.is_ascii_alphanumeric()), "{subject}");
    for (name, value) in &notice.attributes {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        assert!(!value.is_empty() && value.bytes().all(plain), "{name}: {value}");
    }
}

fn check_chat(message: &str) {
    let chat: Value = serde_json::from_str(message).expect("JSON");
    let description = chat["content"]["description"].as_str().expect("a description");
    // The character that breaks mentions and links is our own.
    assert_eq!(unseen(description, &['\n', '\u{200b}']), None, "{description}");
    for markup in ["<", ">", "](", "@here", "@channel", "|", "~", "```", "evil.example/"] {
        assert!(!description.contains(markup), "{markup}: {description}");
    }
    for word in description.split_whitespace().filter(|word| word.contains("://")) {
        assert!(word.starts_with("https://cve.example/"), "{description}");
    }
    for part in [&chat["content"]["title"], &chat["metadata"]] {
        let text = part.to_string();
        assert!(!text.contains(['<', '>']), "{text}");
        assert_eq!(unseen(&text, &['\u{200b}']), None, "{text}");
    }
}

/// Checks every form of the notices, and returns the number of notices in each form.
fn check(world: &World) -> usize {
    let [mails, documents, chats] = notices(world);
    for notice in mails.iter().chain(&documents).chain(&chats) {
        check_envelope(notice);
        assert!(notice.message.len() < 256 * 1024);
    }
    for mail in &mails {
        assert_eq!(unseen(&mail.message, &['\n']), None, "{}", mail.message);
        let forged = mail.message.lines().any(|line| line.starts_with("{\"") || line == "b");
        assert!(!forged, "{}", mail.message);
    }
    for document in &documents {
        let document: Value = serde_json::from_str(&document.message).expect("JSON");
        assert_eq!(document["schema"], "tagwarden.notice/1");
    }
    for chat in &chats {
        check_chat(&chat.message);
    }
    assert_eq!((mails.len(), documents.len()), (chats.len(), chats.len()));
    chats.len()
}

#[tokio::test(start_paused = true)]
async fn texts_of_findings_and_platforms_stay_plain_text() {
    for text in texts() {
        let world = world();
        let finding = Finding::new(&text, "CRITICAL").in_package(&text, &text).fixed_in(&text);
        let finding = finding.and_package(&text, &text);
        let enhanced = ScanResult::enhanced(&[]).with(finding.clone());
        let child = world.image(&[], enhanced);
        world.sim.push_index(&world.repository, &["1.0"], &[(child.as_str(), text.as_str())]);
        let single = world.image(&["2.0"], ScanResult::basic(&[]).with(finding));
        for digest in [&child, &single] {
            let mut event = basic(digest, &[], &Value::Null);
            for (member, value) in [("source-url", &text), ("title", &text)] {
                event["detail"][member] = json!(value);
            }
            world.send(&event);
        }
        world.run_to_the_end().await;
        assert_eq!(check(&world), 2, "{:?}", text.chars().take(40).collect::<String>());
    }
}

#[tokio::test(start_paused = true)]
async fn texts_of_aws_answers_stay_plain_text() {
    for text in texts() {
        let world = world();
        let error = ApiError::new("LimitExceededException", text.clone()).with_status(400);
        world.sim.set_faults(FaultRule::on("PutImage").fault(Fault::ErrorBefore(error)));
        world.violating(&["1.0"]);
        world.run_to_the_end().await;
        assert_eq!(check(&world), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn wordy_event_gives_short_notices() {
    for text in texts() {
        let world = world();
        let digest = world.image(&["1.0"], ScanResult::basic(&[("CRITICAL", 1)]));
        for member in ["id", "time"] {
            let mut event = basic(&digest, &["1.0"], &Value::Null);
            event[member] = json!(text);
            event["unknown"] = json!(text);
            world.send(&event);
        }
        world.run_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
        assert!(check(&world) <= 2);
    }
}
