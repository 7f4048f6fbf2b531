//! Any text as configuration. The first byte says as what: `t` the variable that holds TOML, `f` a file in TOML, `y` in
//! YAML, `j` in JSON, `e` environment variables by lines; in upper case the same, with a secret in it.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use tagwarden::check::render::Details;
use tagwarden::check::{Report, iam};
use tagwarden::config::{
    ConfigError, Entry, FILE_VARIABLE, JudgingSettings, Places, Settings, Sources, TEXT_VARIABLE,
    effective,
};
use tagwarden::domain::exception::Exception;
use tagwarden::domain::names::{AccountId, Digest, Region};
use tagwarden::domain::policy::{Policy, RuleSettings};
use tempfile::NamedTempFile;

/// Characters of the longest line that an error may become.
const LONGEST_ERROR: usize = 1500;
/// The value of a secret key, which `restore.key` takes too.
const SECRET: &str = "c4n4ry-0123456789-0123456789-0123456789-0123456789";
const NEEDED: [(&str, &str); 3] = [
    ("TAGWARDEN__POLICY__MODE", "audit"),
    ("TAGWARDEN__QUEUE__URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden"),
    ("TAGWARDEN__NOTIFY__TOPIC_ARN", "arn:aws:sns:eu-west-1:111122223333:tagwarden"),
];

/// Loads a configuration, and holds what comes of it against what the worker and its operators rely on.
pub(crate) fn run(data: &[u8]) {
    let Some((form, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let (sources, _file) = sources(char::from(*form), &text);
    let loaded = Settings::load(&sources);
    let entries = effective(&sources);
    match (JudgingSettings::load(&sources), entries) {
        (Ok(judging), Ok(entries)) => {
            policy_is_checked(&judging.policy);
            report_renders(&judging, entries, &text);
        }
        (Ok(_), Err(error)) => panic!("what loads can be shown: {error}"),
        (Err(error), entries) => {
            error_helps(&error, &text);
            assert!(loaded.is_err(), "what can be run can be judged by: {error}");
            if let Err(error) = entries {
                error_helps(&error, &text);
            }
        }
    }
    match loaded {
        Ok(settings) => {
            settings_are_checked(&settings);
            policy_is_checked(&settings.policy);
        }
        Err(error) => error_helps(&error, &text),
    }
}

/// Where the configuration comes from, and the file that holds it, if any.
fn sources(form: char, text: &str) -> (Sources, Option<NamedTempFile>) {
    let mut sources = Sources::default();
    let mut text = text.to_owned();
    if form.is_ascii_uppercase() {
        let (section, key) = match text.len() % 2 {
            0 => ("aws", "external_id"),
            _ => ("restore", "key"),
        };
        match form {
            'T' | 'F' => text.insert_str(0, &format!("{section}.{key} = \"{SECRET}\"")),
            'J' => text.insert_str(0, &format!("{{\"{section}\": {{\"{key}\": \"{SECRET}\"")),
            'Y' => text.insert_str(0, &format!("{section}:\n  {key}: {SECRET}")),
            _ => {
                let name = format!("TAGWARDEN__{section}__{key}").to_uppercase();
                text.push_str(&format!("\n{name}={SECRET}"));
            }
        }
    }
    let ending = match form.to_ascii_lowercase() {
        'f' => ".toml",
        'y' => ".yaml",
        'j' => ".json",
        'e' => {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            // Not a file of this machine.
            let lines = lines.filter(|(name, _)| *name != FILE_VARIABLE);
            sources.environment =
                lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            return (sources, None);
        }
        _ => {
            sources.environment = NEEDED.map(|(name, value)| (name.into(), value.into())).into();
            sources.environment.insert(TEXT_VARIABLE.to_owned(), text);
            return (sources, None);
        }
    };
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    sources.file = Some(file.path().to_owned());
    sources.environment = NEEDED.map(|(name, value)| (name.into(), value.into())).into();
    (sources, Some(file))
}

/// Every mistake is a line that is not endless, and nothing gives a secret away.
fn error_helps(error: &ConfigError, text: &str) {
    let messages: Vec<_> = error.messages().collect();
    assert!(!messages.is_empty());
    for line in messages {
        let is_bounded = line.chars().count() <= LONGEST_ERROR;
        assert!(!line.is_empty() && is_bounded && !line.contains(char::is_control), "{line:?}");
    }
    let shown = error.to_string();
    let unseen = shown.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(unseen, None, "{shown:?}");
    assert!(text.contains(SECRET) || !shown.contains(SECRET), "{shown}");
}

fn report_renders(settings: &JudgingSettings, entries: Vec<Entry>, text: &str) {
    let queue = settings.queue.as_ref().and_then(|queue| queue.name());
    let place = iam::Place { own: settings.own.clone(), queue, ..iam::Place::default() };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let places = Places::default();
    let report = Report::new(settings, entries, &places, &place, now);
    let details = Details { all_keys: true, iam: true, coloured: false };
    let (people, programs) = (report.render(&places, details), report.json());
    serde_json::from_str::<serde_json::Value>(&programs).unwrap();
    for shown in [people, programs] {
        assert!(text.contains(SECRET) || !shown.contains(SECRET), "{shown}");
    }
}

fn settings_are_checked(settings: &Settings) {
    let Settings { queue, notify, limits, aws, grace, .. } = settings;
    assert!((1..=1024).contains(&queue.max_in_flight));
    assert!(within(queue.visibility_timeout, 2, 43_200));
    assert!(within(*grace, 2, 120));
    assert!(queue.name().is_some());
    assert!(limits.tasks.get() <= 1000);
    for limit in [limits.untags_per_hour, limits.untags_per_hour_per_repository] {
        assert_ne!(limit.map(|limit| limits.share(limit)), Some(0));
    }
    assert!(aws.external_id.is_none() || aws.assume_role.is_some());
    assert!(!notify.topics.is_empty());
    for (at, topic) in notify.topics.iter().enumerate() {
        assert!(topic.arn.contains(topic.region.as_str()) && !topic.actions.is_empty());
        assert!(notify.topics.iter().take(at).all(|earlier| earlier.arn != topic.arn));
    }
}

fn within(duration: Duration, least: u64, most: u64) -> bool {
    (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&duration)
}

fn policy_is_checked(policy: &Policy) {
    terms_are_checked(&policy.base);
    for account in policy.accounts.iter().flatten() {
        assert_eq!(AccountId::parse(account.as_str()).as_ref(), Ok(account));
    }
    for region in policy.regions.iter().flatten() {
        assert_eq!(Region::parse(region.as_str()).as_ref(), Ok(region));
    }
    for (at, rule) in policy.rules.as_slice().iter().enumerate() {
        assert!(!rule.repositories.is_empty() && rule.name != Policy::BASE);
        assert!(rule.name.len() <= 128 && !rule.name.contains(char::is_control));
        assert!(policy.rules.as_slice().iter().take(at).all(|earlier| earlier.name != rule.name));
        terms_are_checked(&rule.terms);
    }
    for exception in policy.exceptions.as_slice() {
        let Exception { id, digest, owner, reason, .. } = exception;
        assert!(!id.is_empty() || digest.is_some());
        if let Some(digest) = digest {
            assert_eq!(Digest::parse(digest.as_str()).as_ref(), Ok(digest));
        }
        for text in [owner, reason] {
            assert!(!text.trim().is_empty() && text.len() <= 500);
            assert!(!text.contains(char::is_control));
        }
    }
}

fn terms_are_checked(terms: &RuleSettings) {
    assert!(terms.keep_at_least <= 49);
    assert!(terms.grace.is_none_or(|grace| grace <= Duration::from_secs(3650 * 24 * 3600)));
    assert!(terms.min_score.is_none_or(|score| (0.0..=10.0).contains(&score.value())));
}
