use std::io::Write as _;

use super::*;
use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::policy::{Action, Mode};

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:tagwarden";

fn sources(variables: &[(&str, &str)]) -> Sources {
    let mut environment: HashMap<_, _> = [
        ("TAGWARDEN__QUEUE__URL".to_owned(), QUEUE.to_owned()),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN".to_owned(), TOPIC.to_owned()),
    ]
    .into_iter()
    .collect();
    for (key, value) in variables {
        environment.insert((*key).to_owned(), (*value).to_owned());
    }
    Sources { file: None, environment }
}

fn load(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::load(&sources(variables))
}

fn error(variables: &[(&str, &str)]) -> String {
    let message = load(variables).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn violates(settings: &Settings, severity: Severity, count: u64) -> bool {
    let counts: SeverityCounts = [(severity, count)].into_iter().collect();
    settings.policy.judge(&counts).violates()
}

#[test]
fn queue_and_topic_are_enough_and_the_rest_has_the_documented_defaults() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.queue.url, QUEUE);
    assert_eq!(settings.queue.max_in_flight, 32);
    assert_eq!(settings.queue.visibility_timeout, Duration::from_secs(60));
    assert_eq!(settings.notify.topic_arn, TOPIC);
    assert_eq!(settings.notify.topic_region.as_str(), "eu-west-1");
    assert_eq!(settings.notify.format, NoticeFormat::Text);
    assert_eq!(settings.policy.mode, Mode::Enforce);
    assert_eq!(settings.policy.action, Action::Quarantine);
    assert_eq!(settings.policy.accounts, None);
    assert_eq!(settings.policy.regions, None);
    assert!(settings.policy.protected_tags.is_empty());
    assert!(violates(&settings, Severity::Critical, 1));
    assert!(violates(&settings, Severity::High, 1));
    assert!(!violates(&settings, Severity::Medium, u64::MAX));
    assert_eq!(settings.untag_by, UntagBy::TagAndDigest);
    assert_eq!(settings.aws.assume_role, None);
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.grace, Duration::from_secs(25));
    assert_eq!(settings.log_format, LogFormat::Json);
}

#[test]
fn every_variable_sets_its_key() {
    let settings = load(&[
        ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "7"),
        ("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", "5m"),
        ("TAGWARDEN__NOTIFY__FORMAT", "chat"),
        ("TAGWARDEN__POLICY__MODE", "audit"),
        ("TAGWARDEN__POLICY__ACTION", "delete"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__CRITICAL", "2"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__HIGH", "unlimited"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__LOW", "0"),
        ("TAGWARDEN__POLICY__PROTECTED_TAGS", "prod-*, keep,"),
        ("TAGWARDEN__POLICY__REPOSITORIES__INCLUDE", "team/*"),
        ("TAGWARDEN__POLICY__REPOSITORIES__EXCLUDE", "team/x,team/y"),
        ("TAGWARDEN__POLICY__ACCOUNTS", "111122223333,000011112222"),
        ("TAGWARDEN__POLICY__REGIONS", "eu-west-1"),
        ("TAGWARDEN__REGISTRY__UNTAG", "tag"),
        ("TAGWARDEN__AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden"),
        ("TAGWARDEN__AWS__EXTERNAL_ID", "0042"),
        ("TAGWARDEN__HTTP__LISTEN", "127.0.0.1:0"),
        ("TAGWARDEN__SHUTDOWN__GRACE", "90s"),
        ("TAGWARDEN__TELEMETRY__LOG_FORMAT", "pretty"),
    ])
    .unwrap();
    assert_eq!(settings.queue.max_in_flight, 7);
    assert_eq!(settings.queue.visibility_timeout, Duration::from_secs(300));
    assert_eq!(settings.notify.format, NoticeFormat::Chat);
    assert_eq!(settings.policy.mode, Mode::Audit);
    assert_eq!(settings.policy.action, Action::Delete);
    assert!(!violates(&settings, Severity::Critical, 2));
    assert!(violates(&settings, Severity::Critical, 3));
    assert!(!violates(&settings, Severity::High, 99));
    assert!(violates(&settings, Severity::Low, 1));
    assert_eq!(settings.policy.protected_tags.matching("keep"), Some("keep"));
    assert_eq!(settings.policy.protected_tags.matching("prod-1"), Some("prod-*"));
    assert!(settings.policy.include.matching("team/a").is_some());
    assert!(settings.policy.exclude.matching("team/y").is_some());
    assert_eq!(settings.policy.accounts.unwrap().len(), 2);
    assert_eq!(settings.policy.regions.unwrap().len(), 1);
    assert_eq!(settings.untag_by, UntagBy::Tag);
    assert_eq!(settings.aws.assume_role.unwrap(), "arn:aws:iam::{account}:role/tagwarden");
    assert_eq!(
        settings.aws.external_id.unwrap(),
        "0042",
        "an id that looks like a number stays as it is"
    );
    assert_eq!(settings.listen.port(), 0);
    assert_eq!(settings.grace, Duration::from_secs(90));
    assert_eq!(settings.log_format, LogFormat::Pretty);
}

fn file(extension: &str, text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_list_of_one_number_is_a_list() {
    let settings = load(&[("TAGWARDEN__POLICY__ACCOUNTS", "000011112222")]).unwrap();
    assert_eq!(settings.policy.accounts.unwrap().first().unwrap().as_str(), "000011112222");
}

#[test]
fn a_file_in_each_format_sets_keys_and_variables_win_over_it() {
    let toml = "[queue]\nmax_in_flight = 5\n[policy]\nprotected_tags = [\"a\"]\naccounts = [\"111122223333\"]\n[policy.max_findings]\nhigh = 3\n";
    let yaml = "queue:\n  max_in_flight: 5\npolicy:\n  protected_tags: [a]\n  accounts: ['111122223333']\n  max_findings:\n    high: 3\n";
    let json = r#"{"queue":{"max_in_flight":5},"policy":{"protected_tags":["a"],"accounts":["111122223333"],"max_findings":{"high":3}}}"#;
    for (extension, text) in [(".toml", toml), (".yaml", yaml), (".json", json)] {
        let file = file(extension, text);
        let mut sources = sources(&[("TAGWARDEN__POLICY__MODE", "audit")]);
        sources.file = Some(file.path().to_owned());
        let settings = Settings::load(&sources).unwrap();
        assert_eq!(settings.queue.max_in_flight, 5, "{extension}");
        assert!(settings.policy.protected_tags.matching("a").is_some(), "{extension}");
        assert!(!violates(&settings, Severity::High, 3), "{extension}");
        assert!(violates(&settings, Severity::Critical, 1), "{extension}: the other default stays");

        sources.environment.insert("TAGWARDEN__QUEUE__MAX_IN_FLIGHT".into(), "9".into());
        assert_eq!(Settings::load(&sources).unwrap().queue.max_in_flight, 9, "{extension}");
    }
}

#[test]
fn the_text_of_the_file_can_stand_in_a_variable() {
    let settings = load(&[(TEXT_VARIABLE, "[policy]\nmode = \"audit\"")]).unwrap();
    assert_eq!(settings.policy.mode, Mode::Audit);
}

#[test]
fn errors_name_the_key_what_is_wrong_and_what_would_be_right() {
    let cases: &[(&str, &str)] = &[
        ("TAGWARDEN__QUEUE__URL", "tagwarden"),
        ("TAGWARDEN__QUEUE__URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/a.fifo"),
        ("TAGWARDEN__QUEUE__URL", ""),
        ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "0"),
        ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "many"),
        ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "-1"),
        ("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", "60"),
        ("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", "1s"),
        ("TAGWARDEN__QUEUE__MAX_INFLIGHT", "3"),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", "tagwarden"),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", "arn:aws:sns:eu-west-1:111122223333:a.fifo"),
        ("TAGWARDEN__NOTIFY__FORMAT", "html"),
        ("TAGWARDEN__POLICY__MODE", "Enforce"),
        ("TAGWARDEN__POLICY__ACTION", "remove"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__CRITICAL", "-1"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__CRITICAL", "none"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__SEVERE", "1"),
        ("TAGWARDEN__POLICY__PROTECTED_TAGS", "a[b"),
        ("TAGWARDEN__POLICY__ACCOUNTS", "1234"),
        ("TAGWARDEN__POLICY__REGIONS", "europe"),
        ("TAGWARDEN__POLICY__KEEP_AT_LEAST", "1"),
        ("TAGWARDEN__POLICY__REPOSITORIES__ONLY", "a"),
        ("TAGWARDEN__REGISTRY__UNTAG", "digest"),
        ("TAGWARDEN__AWS__ASSUME_ROLE", "arn:aws:iam::111122223333:role/x"),
        ("TAGWARDEN__AWS__EXTERNAL_ID", "abc"),
        ("TAGWARDEN__HTTP__LISTEN", "8080"),
        ("TAGWARDEN__SHUTDOWN__GRACE", "10m"),
        ("TAGWARDEN__TELEMETRY__LOG_FORMAT", "xml"),
        ("TAGWARDEN__NOSUCH__KEY", "1"),
        ("TAGWARDEN__QUEUE", "x"),
        (TEXT_VARIABLE, "policy.protected_tags = 7"),
        (TEXT_VARIABLE, "policy.accounts = []"),
        (TEXT_VARIABLE, "[policy.max_findings]\nhigh = 1.5"),
        (TEXT_VARIABLE, "[queue\nurl = secret"),
    ];
    let lines: Vec<_> = cases
        .iter()
        .map(|&(key, value)| format!("{key}={value:?}\n  {}", error(&[(key, value)])))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_text_of_a_broken_file_in_a_variable_is_never_printed() {
    assert!(!error(&[(TEXT_VARIABLE, "password = hunter2")]).contains("hunter2"));
}

#[test]
fn two_configuration_files_are_one_too_many() {
    let mut sources = sources(&[(TEXT_VARIABLE, "")]);
    sources.file = Some("a.toml".into());
    sources.environment.insert(FILE_VARIABLE.into(), "b.toml".into());
    let message = Settings::load(&sources).unwrap_err().to_string();
    assert_eq!(
        message,
        "--config and TAGWARDEN_CONFIG are both set; give one configuration file only"
    );
    sources.environment.remove(FILE_VARIABLE);
    sources.environment.insert(TEXT_VARIABLE.into(), "[queue]".into());
    assert!(matches!(Settings::load(&sources), Err(ConfigError::TwoFiles { .. })));
}

#[test]
fn a_file_that_is_missing_broken_or_of_an_unknown_kind_is_named() {
    let error = |path: &std::path::Path| {
        let mut sources = sources(&[]);
        sources.file = Some(path.to_owned());
        Settings::load(&sources).unwrap_err().to_string()
    };
    let missing = error("/no/such/file.toml".as_ref());
    assert!(
        missing.starts_with("configuration file /no/such/file.toml: cannot be read: "),
        "{missing}"
    );
    let unknown = error("/etc/tagwarden.ini".as_ref());
    assert!(unknown.ends_with("its name must end in .toml, .yaml, .yml or .json"), "{unknown}");
    let broken = file(".toml", "[queue");
    let message = error(broken.path());
    assert!(message.contains("TOML parse error at line 1"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn variables_that_look_like_ours_but_are_not_read_are_found() {
    let sources = sources(&[("TAGWARDEN_QUEUE_URL", "x"), (FILE_VARIABLE, "f"), ("OTHER", "y")]);
    assert_eq!(sources.unread_variables().collect::<Vec<_>>(), ["TAGWARDEN_QUEUE_URL"]);
}

#[test]
fn the_table_in_the_readme_lists_every_key_with_its_default() {
    let readme = include_str!("../../README.md");
    let mut keys = Vec::new();
    for row in readme.lines().filter(|line| line.starts_with("| `") && line.contains("TAGWARDEN__"))
    {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let (key, default) = (&cells[1], &cells[3]);
        let variable = cells[2].split(' ').next().unwrap();
        if !key.contains('{') {
            assert_eq!(variable, format!("TAGWARDEN__{}", key.to_uppercase().replace('.', "__")));
            let written = load(&[(variable, default)]).map(|settings| format!("{settings:?}"));
            let unset = load(&[]).map(|settings| format!("{settings:?}")).unwrap();
            if !["required", "all", "none", "any", "own account"].contains(&default.as_str()) {
                assert_eq!(written.unwrap(), unset, "{key}");
            }
        }
        if let Err(error) = load(&[(variable, "?")]) {
            assert!(!error.to_string().contains("is unknown"), "{error}");
        }
        keys.push(key.split('{').next().unwrap().to_owned());
    }
    assert_eq!(keys.len(), 19, "{keys:#?}");
}
