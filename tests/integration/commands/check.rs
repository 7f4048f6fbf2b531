//! `tagwarden check` without AWS: the configuration, the origin of its values, and its warnings.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tagwarden::clock::Clock;

use super::support::{Shown, bare, run};
use crate::process::Variables;

const REQUIRED: &str = "
policy.mode = 'enforce'
queue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden'
notify.topic_arn = 'arn:aws:sns:eu-west-1:111122223333:team'
";

/// A key to sign records: 32 bytes in base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn check(config: &str) -> Shown {
    run(&["check", "--all", "--iam"], &bare(&format!("{REQUIRED}{config}")), "").await
}

async fn report(config: &str) -> Value {
    let required = match config.contains("policy.mode") {
        true => REQUIRED.replace("policy.mode = 'enforce'", ""),
        false => REQUIRED.to_owned(),
    };
    let variables = bare(&format!("{required}{config}"));
    run(&["check", "--format", "json"], &variables, "").await.json()
}

async fn warnings(config: &str) -> Vec<String> {
    let report = report(config).await;
    let warnings = report["warnings"].as_array().expect("warnings").iter();
    warnings.map(|warning| warning["message"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn whole_configuration_is_shown_with_the_iam_policy_that_it_needs() {
    insta::assert_snapshot!(check("").await.text());
}

#[tokio::test]
async fn every_value_shows_its_origin_and_secrets_are_hidden() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml").to_string_lossy().into_owned();
    let text = format!(
        "{REQUIRED}aws.external_id = 'tell-nobody'\naws.assume_role = 'arn:aws:iam::{{account}}:role/t'
        restore.key = '{KEY}'\nrestore.senders = ['AROAEXAMPLEID12345678']"
    );
    fs::write(&path, text).expect("a file");
    let variables: Variables =
        [("TAGWARDEN__POLICY__ACTION".to_owned(), "delete".to_owned())].into();
    let shown = run(&["--config", &path, "check", "--format", "json"], &variables, "").await;
    assert!(!shown.stdout.contains("tell-nobody") && !shown.stdout.contains(KEY));
    let report = shown.json();
    assert_eq!(report["schema"], "tagwarden.check/1");
    let origin = |key: &str| {
        let settings = report["configuration"].as_array().expect("settings");
        let setting = settings.iter().find(|setting| setting["key"] == key).expect("a key");
        setting["origin"].as_str().expect("text").to_owned()
    };
    assert_eq!(origin("policy.mode"), path);
    assert_eq!(origin("policy.action"), "TAGWARDEN__POLICY__ACTION");
    assert_eq!(origin("policy.grace"), "default");
    assert_eq!(origin("policy.regions"), "not set");
}

#[tokio::test]
async fn plain_configuration_has_no_warnings() {
    assert_eq!(warnings("").await, [] as [&str; 0]);
}

#[tokio::test]
async fn likely_mistakes_are_warned_of() {
    for (config, expected) in [
        ("policy.mode = 'audit'", "policy.mode is audit"),
        ("policy.max_findings = { critical = 'unlimited', high = 'unlimited' }", "has no limit"),
        ("registry.untag = 'tag'", "registry.untag is tag"),
        ("registry.records = 'off'", "registry.records is off: no image remembers"),
        (
            "restore.senders = ['AROAEXAMPLEID12345678']",
            "restore.senders allows nothing: without restore.key",
        ),
        (
            "restore.key = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='",
            "restore.key serves nobody: restore.senders and restore.hold_senders are empty",
        ),
        (
            "restore.senders = ['AROAEXAMPLEID12345678']\n\
             restore.key = 'changemechangemechangemechangemechangemechangeme'",
            "restore.key has a key, number 1, that can be guessed",
        ),
        (
            "[[policy.rules]]\nname = 'all'\nrepositories = ['*']\n[[policy.rules]]\nname = 'late'\nrepositories = ['team/*', 'x']",
            "policy.rules[1] (late) never applies: policy.rules[0] (all) matches all its \
             repositories first",
        ),
        (
            "[[policy.rules]]\nrepositories = ['{team,old}/*']\n[[policy.rules]]\nrepositories = ['old/a?', 'team/x']",
            "policy.rules[1] (rules[1]) never applies",
        ),
        (
            "policy.repositories.include = ['team/*']\n[[policy.rules]]\nrepositories = ['legacy/*']",
            "policy.repositories leaves out all its repositories",
        ),
        (
            "policy.accounts = ['111122223333']\n[[policy.rules]]\nrepositories = ['*']\naccounts = ['444455556666']",
            "policy.rules[0] (rules[0]) never applies: policy.accounts leaves out every place",
        ),
        (
            "policy.regions = ['eu-west-1']\n[[policy.exceptions]]\nid = 'CVE-1'\nregions = ['us-east-1']\nreason = 'a'\nowner = 'b'\nexpires = '2100-01-01'",
            "policy.exceptions[0] (CVE-1) never applies: policy.regions leaves out every place",
        ),
        (
            "[[policy.rules]]\nrepositories = ['*']\naccounts = ['444455556666']",
            "without policy.accounts, only the worker's own account 111122223333 is covered",
        ),
        (
            "policy.accounts = ['111122223333']\n[[policy.rules]]\nrepositories = ['*']\n\
             accounts = ['111122223333', '111122223334']",
            "policy.rules[0].accounts names 111122223334, which policy.accounts leaves out; did \
             you mean `111122223333`?",
        ),
        (
            "[[policy.rules]]\nrepositories = ['*']\nregions = ['eu-wset-1']",
            "policy.rules[0].regions names eu-wset-1, which is no Region that tagwarden knows; \
             did you mean `eu-west-1`?",
        ),
        (
            "policy.regions = ['eu-west-1', 'eu-central1']",
            "policy.regions names eu-central1, which is no Region",
        ),
        (
            "[[policy.rules]]\nname = 'wide'\nrepositories = ['*']\n\
             accounts = ['111122223333']\n[[policy.rules]]\nname = 'late'\n\
             repositories = ['team/*']\naccounts = ['111122223333']\nregions = ['eu-west-1']",
            "policy.rules[1] (late) never applies: policy.rules[0] (wide) matches all its",
        ),
        (
            "[[notify.topics]]\narn = 'arn:aws:sns:eu-west-1:111122223333:far'\n\
             accounts = ['444455556666']",
            "111122223333:far receives nothing: without policy.accounts",
        ),
        ("policy.protected_tags = ['team/app:prod-*']", "no tag has a `/`"),
        ("policy.protected_tags = ['prod-*, v1-*']", "it holds a comma"),
        ("policy.protected_tags = ['*']", "protects every tag: no tag is ever removed"),
        (
            "policy.repositories.include = ['111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/*']",
            "it holds the registry's host",
        ),
        (
            "[policy.repositories]\ninclude = ['team/*']\nexclude = ['team/*']",
            "leaves out every repository that is included",
        ),
        ("policy.action = 'delete'", "nothing limits how many images are deleted in an hour"),
        ("policy.grace = '500days'", "does not count before it has been known for that long"),
        (
            "[[policy.exceptions]]\nid = 'CVE-1'\nreason = 'r'\nowner = 'o'\nexpires = 2999-01-01\n\
             repositories = ['Team/App']",
            "names of repositories are in lower case",
        ),
    ] {
        let warnings = warnings(config).await;
        assert_eq!(warnings.len(), 1, "{config}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{config}: {warnings:?}");
    }
    for fine in [
        "[[policy.rules]]\nrepositories = ['team/?']\n[[policy.rules]]\nrepositories = ['team/*']",
        "[[policy.rules]]\nrepositories = ['*']\nregions = ['us-east-1']\n\
         [[policy.rules]]\nrepositories = ['team/*']",
    ] {
        assert_eq!(warnings(fine).await, [] as [&str; 0], "{fine}");
    }
}

#[tokio::test]
async fn accounts_and_severities_that_no_topic_receives_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml").to_string_lossy().into_owned();
    let text = "[policy]\naccounts = ['111122223333']\nmax_findings.medium = 5\n\
                [[notify.topics]]\narn = 'arn:aws:sns:eu-west-1:111122223333:pager'\n\
                severities = ['critical', 'high']\n[[notify.topics]]\n\
                arn = 'arn:aws:sns:eu-west-1:111122223333:far'\naccounts = ['444455556666']\n";
    fs::write(&path, text).expect("a file");
    let shown = run(&["check", &path, "--format", "json"], &Variables::new(), "").await;
    let report = shown.json();
    let messages = report["warnings"].as_array().expect("warnings").iter();
    let messages: Vec<_> = messages.map(|one| one["message"].as_str().expect("text")).collect();
    assert_eq!(
        messages,
        ["topic arn:aws:sns:eu-west-1:111122223333:far receives nothing: policy.accounts leaves \
             out every place in which it would",]
    );
    let alone = text.split("[[notify.topics]]\narn = 'arn:aws:sns:eu-west-1:111122223333:far'");
    fs::write(&path, alone.take(1).collect::<String>()).expect("a file");
    let shown = run(&["check", &path], &Variables::new(), "").await;
    let warning = "no topic receives notices about images with medium findings alone";
    assert!(shown.stdout.contains(warning), "{shown:?}");
    let moved =
        text.replace("accounts = ['111122223333']\nmax", "accounts = ['999988887777']\nmax");
    let moved = moved.replace("severities = ['critical', 'high']", "accounts = ['111122223333']");
    fs::write(&path, moved).expect("a file");
    let shown = run(&["check", &path], &Variables::new(), "").await;
    let warning = "no topic receives notices about the account 999988887777";
    assert!(shown.stdout.contains(warning), "{shown:?}");
}

#[tokio::test]
async fn warnings_point_at_the_item_that_they_are_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml").to_string_lossy().into_owned();
    fs::write(&path, "[policy]\nprotected_tags = [\n  'prod-*',\n  'a/b',\n]\n").expect("a file");
    let shown = run(&["check", &path], &Variables::new(), "").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.starts_with("ok: 0 rules, 0 exceptions, 1 warning\n"), "{shown:?}");
    assert!(shown.stdout.contains(&format!("--> {path}:4:3")), "{shown:?}");
    assert!(shown.stdout.contains("`tagwarden run` also needs policy.mode"), "{shown:?}");
}

#[tokio::test]
async fn warnings_about_the_key_have_its_line_and_do_not_show_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml").to_string_lossy().into_owned();
    let key = "changeme".repeat(6);
    fs::write(&path, format!("[restore]\n\nkey = '{key}'\n")).expect("a file");
    let shown = run(&["check", &path], &Variables::new(), "").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.starts_with("ok: 0 rules, 0 exceptions, 2 warnings\n"), "{shown:?}");
    assert_eq!(shown.stdout.matches(&format!("{path}:3")).count(), 2, "{shown:?}");
    assert!(!shown.stdout.contains("changeme"), "{shown:?}");
    for advice in ["aws iam get-role --role-name", "openssl rand -base64 33"] {
        assert!(shown.stdout.contains(advice), "{advice}: {shown:?}");
    }
    fs::write(&path, "[restore]\nkey = 'changeme'\n").expect("a file");
    let shown = run(&["check", &path], &Variables::new(), "").await;
    assert!(shown.complaint(2).contains("such as `openssl rand -base64 33` prints"), "{shown:?}");
}

#[tokio::test]
async fn accounts_with_unreadable_enhanced_findings_are_warned_of() {
    let unread = |others: &str| {
        format!(
            "policy.accounts names 444455556666{others}, and aws.assume_role is not set: findings \
             of enhanced scanning cannot be read there, whatever a repository policy allows"
        )
    };
    let accounts = "policy.accounts = ['111122223333', '444455556666']";
    assert_eq!(warnings(accounts).await, [unread("")]);
    let more = "policy.accounts = ['777788889999', '444455556666']";
    assert_eq!(warnings(more).await, [unread(" and others")]);
    let role = "aws.assume_role = 'arn:aws:iam::{account}:role/tagwarden'";
    assert_eq!(warnings(&format!("{accounts}\n{role}")).await, [] as [&str; 0]);
    assert_eq!(warnings("policy.accounts = ['111122223333']").await, [] as [&str; 0]);
}

#[tokio::test]
async fn check_and_worker_refuse_a_topic_arn_with_a_line_break() {
    let topic = "arn:aws:sns:eu-west-1:111122223333:team";
    for command in [["check"], ["run"]] {
        let mut variables = bare(
            "policy.mode = 'audit'\nqueue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'",
        );
        variables.insert("TAGWARDEN__NOTIFY__TOPIC_ARN".to_owned(), format!("{topic}\r\n"));
        let shown = run(&command, &variables, "").await;
        let said = shown.complaint(2);
        assert!(said.contains("notify.topic_arn"), "{said}");
        assert!(said.contains(r#"team\r\n"; expected the topic's ARN"#), "{said}");
    }
}

#[tokio::test]
async fn ending_and_expired_exceptions_are_warned_of() {
    let in_a_week = Clock::of_this_machine().now() + Duration::from_secs(7 * 24 * 3600);
    let soon = humantime::format_rfc3339(in_a_week).to_string();
    let soon = &soon[..10];
    let exception = |id: &str, expires: &str| {
        format!(
            "[[policy.exceptions]]\nid = '{id}'\nreason = 'r'\nowner = 'me'\nexpires = '{expires}'\n"
        )
    };
    let config =
        ["2020-01-01", soon, "2999-01-01"].map(|day| exception(&format!("CVE-{day}"), day));
    let warnings = warnings(&config.concat()).await;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let expired = "policy.exceptions[0] (CVE-2020-01-01; owner me) has not applied since \
                   2020-01-01: remove it, or renew it";
    assert_eq!(warnings[0], expired);
    assert!(warnings[1].contains(&format!("no longer applies from {soon} on")), "{warnings:?}");
}

#[tokio::test]
async fn actions_that_no_topic_accepts_are_warned_of() {
    let config = "
        queue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden'
        [[notify.topics]]
        arn = 'arn:aws:sns:eu-west-1:111122223333:team'
        actions = ['quarantined', 'deleted', 'blocked', 'unscanned']
    ";
    let shown = run(&["check"], &bare(config), "").await;
    for action in ["would_untag", "failed"] {
        let warning = format!("warning: no topic receives notices of the action {action}\n");
        assert!(shown.stdout.contains(&warning), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn unknown_variables_end_every_command() {
    for name in ["TAGWARDEN_QUEUE_URL", "tagwarden__policy__mode", "TAGWARDEN_MODE"] {
        let mut variables = bare(REQUIRED);
        variables.insert(name.to_owned(), "x".to_owned());
        for command in [
            &["check"][..],
            &["run"],
            &["explain", "no-such-file"],
            &["plan"],
            &["apply", "no-such-file"],
            &["schema"],
            &["healthcheck"],
            &["init", "no-such-folder/policy.toml"],
            &["completions", "bash"],
        ] {
            let shown = run(command, &variables, "").await;
            let expected = format!("the environment variable {name} sets no key");
            assert!(shown.complaint(2).starts_with(&expected), "{command:?} {shown:?}");
        }
    }
}

#[tokio::test]
async fn invalid_configuration_is_refused_with_its_place() {
    for (config, expected) in [
        ("queue.urll = 'x'", "queue.urll: no such key; did you mean `url`?"),
        ("queue = 7", "queue: is 7; expected a table of keys"),
        ("policy.mode = [", "is not valid TOML: "),
    ] {
        for command in [&["check"][..], &["check", "--live"], &["check", "--format", "json"]] {
            let shown = run(command, &bare(config), "").await;
            assert!(shown.complaint(2).contains(expected), "{shown:?}");
            assert!(shown.stderr.contains("--> TAGWARDEN_CONFIG_TEXT:1:"), "{shown:?}");
        }
    }
}
