use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::domain::evaluation::Subject;
use crate::domain::findings::{Findings, Severity};
use crate::domain::names::Region;
use crate::domain::names::sample;
use crate::domain::notice::NoticeAction;
use crate::domain::policy::{Action, InUse, IndexRule, Mode, RuleSettings, Unscanned};
use crate::notify::{NoticeFormat, TopicSettings};
use crate::registry::{Records, UntagBy};
use crate::restore::PrincipalId;
use crate::telemetry::logs::LogFormat;

mod effective;
mod errors;
mod fingerprint;
mod notify;
mod places;
mod policy;
mod restore;
mod schema;

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:tagwarden";

const ROLE: &str = "AROAEXAMPLEID12345678";
const USER: &str = "AIDAEXAMPLEID12345678";
/// A key to sign records: 32 bytes in base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Returns the ids of this many roles.
fn many_roles(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("AROAEXAMPLEID{at:08}")).collect()
}

/// Returns sources with a queue, a topic, a mode and these variables.
fn sources(variables: &[(&str, &str)]) -> Sources {
    let required = [
        ("TAGWARDEN__QUEUE__URL", QUEUE),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", TOPIC),
        ("TAGWARDEN__POLICY__MODE", "enforce"),
    ];
    only(&required.into_iter().chain(variables.iter().copied()).collect::<Vec<_>>())
}

/// Returns sources with these variables and no others.
fn only(variables: &[(&str, &str)]) -> Sources {
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Sources { file: None, environment: variables.collect() }
}

fn load(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::load(&sources(variables))
}

/// Returns the settings for a queue, a topic and this file.
fn load_toml(text: &str) -> Settings {
    load(&[(TEXT_VARIABLE, text)]).unwrap()
}

/// Returns the error for this file.
fn toml_error(text: &str) -> String {
    one_line(&load(&[(TEXT_VARIABLE, text)]).unwrap_err())
}

/// Returns the only mistake, which is written as one line.
fn one_line(error: &ConfigError) -> String {
    let mut messages = error.messages();
    let message = messages.next().unwrap();
    assert_eq!(messages.next(), None, "{error}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// Returns whether this many findings exceed the limit in this repository.
fn violates_in(settings: &Settings, repository: &str, severity: Severity, count: u64) -> bool {
    let subject = Subject {
        repository: &sample::repository(repository),
        digests: &[],
        pushed_at: None,
        now: std::time::SystemTime::UNIX_EPOCH,
    };
    let findings = Findings::new([(severity, count)].into_iter().collect(), Vec::new());
    settings.policy.judge(&subject, &findings).violates()
}

fn violates(settings: &Settings, severity: Severity, count: u64) -> bool {
    violates_in(settings, "team/app", severity, count)
}

/// Returns the name of the rule for this repository, and its settings.
fn terms<'a>(settings: &'a Settings, repository: &str) -> (&'a str, &'a RuleSettings) {
    settings.policy.terms(&sample::repository(repository))
}

fn file(extension: &str, text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Returns the settings for a queue, a topic and this file in one of the formats.
fn load_file(extension: &str, text: &str) -> Result<Settings, ConfigError> {
    let file = file(extension, text);
    let mut sources = sources(&[]);
    let bare: String = text.split_whitespace().collect();
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let is_in_json = json.is_some_and(|json| json.pointer("/policy/mode").is_some());
    if is_in_json || bare.contains("[policy]mode=") || bare.contains("policy:mode:") {
        // The file's own mode counts.
        sources.environment.remove("TAGWARDEN__POLICY__MODE");
    }
    Settings::load(&Sources { file: Some(file.path().to_owned()), ..sources })
}

#[test]
fn every_key_but_queue_and_topic_has_its_documented_default() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.queue.url, QUEUE);
    assert_eq!(settings.queue.max_in_flight, 32);
    assert_eq!(settings.queue.visibility_timeout, Duration::from_secs(60));
    let [topic] = settings.notify.topics.as_slice() else { panic!("one topic") };
    assert_eq!(topic.arn, TOPIC);
    assert_eq!(topic.region.as_str(), "eu-west-1");
    assert_eq!(topic.format, NoticeFormat::Text);
    assert!(topic.repositories.is_empty());
    assert_eq!(topic.actions, NoticeAction::ALL.into());
    assert_eq!(format!("{:?}", settings.policy.base), format!("{:?}", RuleSettings::default()));
    assert_eq!(
        (settings.policy.rules.as_slice().len(), settings.policy.exceptions.as_slice().len()),
        (0, 0)
    );
    assert_eq!(settings.policy.accounts, None);
    assert_eq!(settings.policy.regions, None);
    assert!(violates(&settings, Severity::Critical, 1));
    assert!(violates(&settings, Severity::High, 1));
    assert!(!violates(&settings, Severity::Medium, u64::MAX));
    assert_eq!(settings.limits.untags_per_hour, None);
    assert_eq!(settings.limits.untags_per_hour_per_repository, None);
    assert_eq!(settings.limits.tasks.get(), 1);
    assert_eq!(settings.untag_by, UntagBy::TagAndDigest);
    assert_eq!(settings.records, Records::Required);
    assert!(settings.restore.keys.is_none());
    assert_eq!((settings.restore.senders.len(), settings.restore.hold_senders.len()), (0, 0));
    assert_eq!(settings.restore.max_hold, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(settings.aws.assume_role, None);
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.grace, Duration::from_secs(25));
    assert_eq!(settings.log_format, LogFormat::Json);
}

/// Asserts that every key that narrows what counts, or keeps tags in place, differs from its
/// default.
#[track_caller]
fn assert_narrowed(base: &RuleSettings) {
    assert_eq!(base.index, IndexRule::All);
    assert_eq!(base.keep_at_least, 3);
    assert_eq!(base.in_use, InUse::Block);
    assert_eq!(base.fixable_only, [Severity::High, Severity::Medium].into());
    assert_eq!(base.min_score.unwrap().to_string(), "7.5");
    assert!(base.exploit_only);
    assert_eq!(base.grace, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(base.unscanned, Unscanned::Ignore);
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
        ("TAGWARDEN__POLICY__INDEX", "all"),
        ("TAGWARDEN__POLICY__KEEP_AT_LEAST", "3"),
        ("TAGWARDEN__POLICY__IN_USE", "block"),
        ("TAGWARDEN__POLICY__FIXABLE_ONLY", "high, medium"),
        ("TAGWARDEN__POLICY__MIN_SCORE", "7.5"),
        ("TAGWARDEN__POLICY__EXPLOIT_ONLY", "true"),
        ("TAGWARDEN__POLICY__GRACE", "7d"),
        ("TAGWARDEN__POLICY__UNSCANNED", "ignore"),
        ("TAGWARDEN__LIMITS__UNTAGS_PER_HOUR", "200"),
        ("TAGWARDEN__LIMITS__UNTAGS_PER_HOUR_PER_REPOSITORY", "20"),
        ("TAGWARDEN__LIMITS__TASKS", "4"),
        ("TAGWARDEN__REGISTRY__UNTAG", "tag"),
        ("TAGWARDEN__REGISTRY__RECORDS", "off"),
        ("TAGWARDEN__RESTORE__KEY", KEY),
        ("TAGWARDEN__RESTORE__SENDERS", "AROAEXAMPLEID12345678, AIDAEXAMPLEID12345678"),
        ("TAGWARDEN__RESTORE__HOLD_SENDERS", USER),
        ("TAGWARDEN__RESTORE__MAX_HOLD", "36h"),
        ("TAGWARDEN__AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden"),
        ("TAGWARDEN__AWS__EXTERNAL_ID", "0042"),
        ("TAGWARDEN__HTTP__LISTEN", "127.0.0.1:0"),
        ("TAGWARDEN__SHUTDOWN__GRACE", "90s"),
        ("TAGWARDEN__TELEMETRY__LOG_FORMAT", "pretty"),
    ])
    .unwrap();
    assert_eq!(settings.queue.max_in_flight, 7);
    assert_eq!(settings.queue.visibility_timeout, Duration::from_secs(300));
    assert_eq!(settings.notify.topics[0].format, NoticeFormat::Chat);
    let base = &settings.policy.base;
    assert_eq!(base.mode, Mode::Audit);
    assert_eq!(base.action, Action::Delete);
    assert_narrowed(base);
    assert_eq!(base.protected_tags.matching("keep"), Some("keep"));
    assert_eq!(base.protected_tags.matching("prod-1"), Some("prod-*"));
    assert_eq!(settings.limits.untags_per_hour, Some(200));
    assert_eq!(settings.limits.untags_per_hour_per_repository, Some(20));
    assert_eq!(settings.limits.tasks.get(), 4);
    assert!(!violates(&settings, Severity::Critical, 2));
    assert!(violates(&settings, Severity::Critical, 3));
    assert!(!violates(&settings, Severity::High, 99));
    assert!(violates(&settings, Severity::Low, 1));
    assert!(settings.policy.include.matching("team/a").is_some());
    assert!(settings.policy.exclude.matching("team/y").is_some());
    assert_eq!(settings.policy.accounts.unwrap().len(), 2);
    assert_eq!(settings.policy.regions.unwrap().len(), 1);
    assert_eq!(settings.untag_by, UntagBy::Tag);
    assert_eq!(settings.records, Records::Off);
    assert!(settings.restore.keys.is_some());
    let texts = |ids: &[PrincipalId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&settings.restore.senders), [ROLE, USER]);
    assert_eq!(texts(&settings.restore.hold_senders), [USER]);
    assert_eq!(settings.restore.max_hold, Duration::from_secs(36 * 3600));
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

#[test]
fn a_list_of_one_number_is_a_list() {
    let settings = load(&[("TAGWARDEN__POLICY__ACCOUNTS", "000011112222")]).unwrap();
    assert_eq!(settings.policy.accounts.unwrap().first().unwrap().as_str(), "000011112222");
}

#[test]
fn a_file_in_each_format_sets_keys_and_variables_win_over_it() {
    let toml = "[queue]\nmax_in_flight = 5\n[policy]\nprotected_tags = [\"a\"]\n\
                accounts = [\"111122223333\"]\n[policy.max_findings]\nhigh = 3\n";
    let yaml = "queue: {max_in_flight: 5}\npolicy:\n  protected_tags: [a]\n  \
                accounts: ['111122223333']\n  max_findings:\n    high: 3\n";
    let json = r#"{"queue": {"max_in_flight": 5}, "policy": {"protected_tags": ["a"],
        "accounts": ["111122223333"], "max_findings": {"high": 3}}}"#;
    for (extension, text) in [(".toml", toml), (".yaml", yaml), (".json", json)] {
        let file = file(extension, text);
        let mut sources = sources(&[("TAGWARDEN__POLICY__MODE", "audit")]);
        sources.file = Some(file.path().to_owned());
        let settings = Settings::load(&sources).unwrap();
        assert_eq!(settings.queue.max_in_flight, 5, "{extension}");
        assert!(settings.policy.base.protected_tags.matching("a").is_some(), "{extension}");
        assert!(!violates(&settings, Severity::High, 3), "{extension}");
        assert!(violates(&settings, Severity::Critical, 1), "{extension}: the other default stays");

        sources.environment.insert("TAGWARDEN__QUEUE__MAX_IN_FLIGHT".into(), "9".into());
        assert_eq!(Settings::load(&sources).unwrap().queue.max_in_flight, 9, "{extension}");
    }
}

#[test]
fn a_variable_can_hold_the_text_of_the_file() {
    let settings = load(&[(TEXT_VARIABLE, "[policy]\nprotected_tags = [\"a\"]")]).unwrap();
    assert!(settings.policy.base.protected_tags.matching("a").is_some());
}

#[test]
fn the_text_of_a_broken_file_in_a_variable_is_never_printed() {
    assert!(!toml_error("password = hunter2").contains("hunter2"));
}

#[test]
fn two_configuration_files_are_an_error() {
    let mut sources = sources(&[]);
    sources.file = Some("a.toml".into());
    sources.environment.insert(FILE_VARIABLE.into(), "b.toml".into());
    let message = one_line(&Settings::load(&sources).unwrap_err());
    assert_eq!(message, "--config and TAGWARDEN_CONFIG are both set");
    sources.environment.remove(FILE_VARIABLE);
    sources.environment.insert(TEXT_VARIABLE.into(), "[queue]".into());
    let message = one_line(&Settings::load(&sources).unwrap_err());
    assert_eq!(message, "--config and TAGWARDEN_CONFIG_TEXT are both set");
}

#[test]
fn a_file_that_is_missing_broken_or_of_an_unknown_kind_is_named() {
    let error = |path: &std::path::Path| {
        let mut sources = sources(&[]);
        sources.file = Some(path.to_owned());
        Settings::load(&sources).unwrap_err()
    };
    let missing = one_line(&error("/no/such/file.toml".as_ref()));
    assert!(missing.starts_with("/no/such/file.toml cannot be read: "), "{missing}");
    let unknown = one_line(&error("/etc/tagwarden.ini".as_ref()));
    assert!(unknown.ends_with("its name must end in .toml, .yaml, .yml or .json"), "{unknown}");
    assert_eq!(one_line(&error("".as_ref())), "--config is empty");
    for (extension, text, place) in [
        (".toml", "[policy]\n[queue", ":2:7"),
        (".json", "{\n\t\"policy\": {},\n}", ":3:1"),
        (".yaml", "policy:\n  mode: 'audit\n", ":2:9"),
    ] {
        let broken = file(extension, text);
        let error = error(broken.path());
        assert!(one_line(&error).starts_with("is not valid "), "{error}");
        assert!(error.to_string().contains(&format!("{extension}{place}")), "{error}");
    }
}

#[test]
fn empty_variables_are_errors_but_for_the_mode_which_is_missing_then() {
    for name in [FILE_VARIABLE, TEXT_VARIABLE, "TAGWARDEN__POLICY__PROTECTED_TAGS"] {
        let message = one_line(&load(&[(name, "")]).unwrap_err());
        assert!(message.ends_with(&format!("the environment variable {name} is empty")));
    }
    for text in ["", "policy.mode = ''", "policy.mode = 'enforce'"] {
        let mut sources = sources(&[(TEXT_VARIABLE, &format!("# a comment\n{text}"))]);
        sources.environment.insert("TAGWARDEN__POLICY__MODE".into(), String::new());
        assert_eq!(
            one_line(&Settings::load(&sources).unwrap_err()),
            "policy.mode: is missing: `audit` notifies and changes nothing, `enforce` removes tags"
        );
        assert_eq!(JudgingSettings::load(&sources).unwrap().mode, None);
    }
}

#[test]
fn variables_that_look_like_ours_and_set_nothing_are_errors() {
    for (name, meant) in [
        ("TAGWARDEN_QUEUE_URL", Some("TAGWARDEN__QUEUE__URL")),
        ("TAGWARDEN__QUEUE_URL", Some("TAGWARDEN__QUEUE__URL")),
        ("tagwarden__policy__mode", Some("TAGWARDEN__POLICY__MODE")),
        ("TAGWARDEN__policy__mode", Some("TAGWARDEN__POLICY__MODE")),
        ("Tagwarden__Policy__Mode", Some("TAGWARDEN__POLICY__MODE")),
        ("TAGWARDEN__POLICY__PROTECTED_TAG", Some("TAGWARDEN__POLICY__PROTECTED_TAGS")),
        ("TAGWARDEN_CONFIG_FILE", Some("TAGWARDEN_CONFIG")),
        ("TAGWARDEN", None),
        ("TAGWARDEN_HOME", None),
    ] {
        for sources in [sources(&[(name, "x")]), only(&[(name, "x")])] {
            let error = JudgingSettings::load(&sources).unwrap_err();
            let message = one_line(&error);
            let expected = format!("the environment variable {name} sets no key");
            assert!(message.starts_with(&expected), "{message}");
            let suggestion = meant.map(|meant| format!("; did you mean `{meant}`?"));
            assert_eq!(message[expected.len()..], suggestion.unwrap_or_default(), "{message}");
            assert!(check_variables(&sources).is_err());
        }
    }
    let of_a_service = [
        ("TAGWARDEN_SERVICE_HOST", "10.0.0.1"),
        ("TAGWARDEN_SERVICE_PORT_HTTP", "8080"),
        ("TAGWARDEN_PORT", "tcp://10.0.0.1:8080"),
        ("TAGWARDEN_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("OTHER", "x"),
    ];
    load(&of_a_service).unwrap();
    check_variables(&only(&of_a_service)).unwrap();
}

#[test]
fn a_key_or_section_that_a_file_names_without_a_value_is_not_given() {
    let yaml = "queue:\npolicy:\n  # mode: audit\n  grace:\n  rules:\nnotify:\n  format: ~\n";
    let json =
        r#"{"queue": null, "policy": {"grace": null, "rules": null}, "notify": {"format": null}}"#;
    for (extension, text) in
        [(".yaml", yaml), (".yaml", "# nothing\n"), (".json", json), (".toml", "")]
    {
        let settings = load_file(extension, text).unwrap();
        assert_eq!(format!("{settings:?}"), format!("{:?}", load(&[]).unwrap()), "{text}");
    }
}

#[test]
fn judging_needs_no_queue_or_topic_but_checks_those_given() {
    let judging = JudgingSettings::load(&only(&[])).unwrap();
    assert_eq!((judging.own, judging.notify.topics.len()), (None, 0));
    assert_eq!(judging.aws.assume_role, None);
    let judging = JudgingSettings::load(&sources(&[(
        TEXT_VARIABLE,
        "[[policy.rules]]\nrepositories = [\"a\"]",
    )]));
    let judging = judging.unwrap();
    let own = judging.own.unwrap();
    assert_eq!((own.account.as_str(), own.region.as_str()), ("111122223333", "eu-west-1"));
    assert_eq!(judging.notify.topics.len(), 1);
    assert_eq!(judging.policy.rules.as_slice().len(), 1);
    for variable in ["TAGWARDEN__QUEUE__URL", "TAGWARDEN__POLICY__MODE", "TAGWARDEN__NOSUCH__KEY"] {
        let error = JudgingSettings::load(&only(&[(variable, "x")])).unwrap_err();
        assert!(error.to_string().contains(variable), "{error}");
    }
}

#[test]
fn a_queue_url_names_account_and_region_in_every_partition_and_at_every_kind_of_endpoint() {
    for (host, region) in [
        ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
        ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
        ("sqs.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("sqs.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
        ("sqs.us-isob-east-1.sc2s.sgov.gov", Some("us-isob-east-1")),
        ("vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
        ("sqs-fips.us-east-1.amazonaws.com", Some("us-east-1")),
        ("vpce-0a1b-2c3d.sqs-fips.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
        ("eu-west-1.queue.amazonaws.com", Some("eu-west-1")),
        ("cn-north-1.queue.amazonaws.com.cn", Some("cn-north-1")),
        ("queue.amazonaws.com", Some("ap-south-1")),
        ("localhost:4566", Some("ap-south-1")),
    ] {
        let url = format!("https://{host}/111122223333/tagwarden");
        let elsewhere = Region::parse("ap-south-1").unwrap();
        let settings = load(&[("TAGWARDEN__QUEUE__URL", &url)]).unwrap();
        let registry_id = settings.queue.registry_id(Some(&elsewhere));
        let registry_id = registry_id
            .map(|registry_id| (registry_id.account.to_string(), registry_id.region.to_string()));
        let expected = region.map(|region| ("111122223333".to_owned(), region.to_owned()));
        assert_eq!(registry_id, expected, "{host}");
    }
}
