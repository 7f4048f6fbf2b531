//! `tagwarden init` and `tagwarden completions`.

use std::fs;

use super::support::{Shown, bare, run};
use crate::process::Variables;

async fn init(arguments: &[&str]) -> Shown {
    run(&[&["init"], arguments].concat(), &Variables::new(), "").await
}

#[tokio::test]
async fn what_init_writes_passes_check_and_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tagwarden.toml").to_string_lossy().into_owned();
    let shown = init(&[&path]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains(&format!("Next:      tagwarden check {path}")), "{shown:?}");
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.starts_with("#:schema ./tagwarden.schema.json\n"), "{text}");
    assert!(text.contains("\n# mode = \"audit\"\n"), "nobody chose a mode: {text}");
    let schema = fs::read_to_string(folder.path().join("tagwarden.schema.json")).expect("a schema");
    serde_json::from_str::<serde_json::Value>(&schema).expect("JSON");

    let checked = run(&["check", &path], &bare(""), "").await;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.starts_with("ok: 0 rules, 0 exceptions, 0 warnings\n"), "{checked:?}");
    let not_run = run(&["--config", &path, "run"], &bare(""), "").await;
    assert_eq!(not_run.code, 2, "{not_run:?}");
    assert!(not_run.stderr.contains("policy.mode: is missing"), "{not_run:?}");

    let again = init(&[&path, "--mode", "enforce"]).await;
    assert!(again.complaint(2).contains("exists already"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), text);
}

#[tokio::test]
async fn init_writes_the_answers_after_checking_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml").to_string_lossy().into_owned();
    let queue = "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
    let wrong = init(&[&path, "--mode", "audit", "--queue-url", "tagwarden"]).await;
    assert!(wrong.complaint(2).starts_with("queue.url: is \"tagwarden\""), "{wrong:?}");
    assert!(!fs::exists(&path).expect("an answer"));
    let shown = init(&[&path, "--mode", "audit", "--queue-url", queue]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.contains(&format!("[queue]\nurl = \"{queue}\"\n")), "{text}");
    assert!(text.contains("\nmode = \"audit\"\n"), "{text}");
    let nowhere = init(&["no-such-folder/tagwarden.toml"]).await;
    assert!(nowhere.complaint(1).contains("cannot be written"), "{nowhere:?}");
    let other = init(&["tagwarden.yaml"]).await;
    assert!(other.complaint(2).contains("must end in .toml"), "{other:?}");
}

#[tokio::test]
async fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let shown = run(&["completions", shell], &Variables::new(), "").await;
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shell}");
        assert!(shown.stdout.contains("healthcheck"), "{shell}");
    }
}
