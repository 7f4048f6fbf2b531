//! What a person sees of such texts at a terminal.

use aws_sim::{ApiError, Fault, FaultRule, Finding, ScanResult};
use serde_json::json;

use super::texts::{events_with, texts_in_bulk, unseen};
use crate::commands::support::{Shown, World, bare, run, scanned};

/// Words that begin our own lines.
const OURS: [&str; 5] = ["verdict ", "note: ", "warning: ", "  granted ", "  missing "];

/// The output is plain text, and every line is one that we have written.
fn check(shown: &Shown) {
    let all = format!("{}{}", shown.stdout, shown.stderr);
    assert_eq!(unseen(&all, &['\n']), None, "{all}");
    for line in all.lines() {
        assert!(line != "b" && line != "forged" && !line.starts_with("{\"level\""), "{all}");
    }
    let forged = OURS.iter().any(|ours| all.contains(&format!("\n{ours}FORGED")));
    assert!(!forged, "{all}");
}

/// Texts that imitate our lines after line breaks, and the other texts. Several are combined
/// because each costs a process or two.
fn forgeries() -> Vec<String> {
    let ours = OURS.map(|ours| format!("x\n{ours}FORGED"));
    texts_in_bulk().into_iter().chain([ours.concat()]).collect()
}

#[tokio::test]
async fn event_reaches_the_terminal_as_plain_text() {
    for text in forgeries() {
        for event in events_with(&text).into_iter().step_by(7) {
            check(&run(&["explain"], &bare(""), event.to_string()).await);
        }
    }
}

#[tokio::test]
async fn findings_reach_the_terminal_as_plain_text() {
    for text in forgeries() {
        let world = World::new().await;
        let finding = Finding::new(&text, "CRITICAL").in_package(&text, &text).fixed_in(&text);
        let child = world.image(&[], ScanResult::enhanced(&[]).with(finding));
        world.sim.push_index(&world.repository, &["1.0"], &[(child.as_str(), text.as_str())]);
        let event = scanned(&child, &[], &json!({"CRITICAL": 1})).to_string();
        for format in ["text", "json"] {
            let shown = world.run(&["explain", "--live", "--format", format], &event).await;
            assert_eq!(shown.code, 3, "{shown:?}");
            check(&shown);
        }
    }
}

#[tokio::test]
async fn aws_errors_reach_the_terminal_as_plain_text() {
    for text in forgeries() {
        for code in ["AccessDeniedException", "InvalidParameterException", "ServerException"] {
            let world = World::new().await;
            let digest = world.image(&["1.0"], ScanResult::basic(&[("CRITICAL", 1)]));
            let error = ApiError::new(code, text.clone()).with_status(400);
            world.sim.set_faults(FaultRule::always().fault(Fault::ErrorBefore(error)));
            let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1})).to_string();
            check(&world.run(&["explain", "--live"], &event).await);
            check(&world.run(&["check", "--live"], "").await);
        }
    }
}

#[tokio::test]
async fn configuration_reaches_the_terminal_as_plain_text() {
    for text in forgeries().into_iter().filter(|text| text.len() < 1000) {
        let quoted = json!(text.replace('\u{7f}', "")).to_string();
        let config = format!(
            "policy.protected_tags = [{quoted}]\n[[policy.exceptions]]\nid = {quoted}\nreason = {quoted}\nowner = {quoted}\nexpires = 2999-01-01\n\
             [[policy.rules]]\nname = {quoted}\nrepositories = ['team/*']\n"
        );
        let event = scanned(&format!("sha256:{}", "1".repeat(64)), &["1"], &json!({"HIGH": 1}));
        check(&run(&["explain"], &bare(&config), event.to_string()).await);
        let config = format!(
            "queue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'\nnotify.topic_arn = 'arn:aws:sns:eu-west-1:111122223333:t'\n{config}"
        );
        check(&run(&["check"], &bare(&config), "").await);
    }
}
