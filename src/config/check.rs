//! The checks that make settings of what files and variables write.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::http::Uri;
use config::{Value, ValueKind};

use super::raw::{List, RawAws, RawPolicy, RawSettings};
use super::{
    AwsSettings, ConfigError, LogFormat, NoticeFormat, NotifySettings, QueueSettings, Settings,
    UntagBy,
};
use crate::domain::findings::Severity;
use crate::domain::image::{AccountId, InvalidName, Region};
use crate::domain::policy::{Action, Globs, Limits, Mode, Policy};

const QUEUE_EXAMPLE: &str =
    "the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
const TOPIC_EXAMPLE: &str = "the topic's ARN, such as arn:aws:sns:eu-west-1:111122223333:tagwarden";

impl RawSettings {
    /// Checks every key.
    pub(super) fn check(self) -> Result<Settings, ConfigError> {
        let topic_arn = required("notify.topic_arn", self.notify.topic_arn, TOPIC_EXAMPLE)?;
        Ok(Settings {
            queue: QueueSettings {
                url: queue_url(self.queue.url)?,
                max_in_flight: within("queue.max_in_flight", &self.queue.max_in_flight, 1..=1024)?,
                visibility_timeout: duration(
                    "queue.visibility_timeout",
                    &self.queue.visibility_timeout,
                    Duration::from_secs(2),
                    Duration::from_secs(43_200),
                )?,
            },
            notify: NotifySettings {
                topic_region: topic_region(&topic_arn)?,
                topic_arn,
                format: choice(
                    "notify.format",
                    &self.notify.format,
                    &[
                        ("text", NoticeFormat::Text),
                        ("json", NoticeFormat::Json),
                        ("chat", NoticeFormat::Chat),
                    ],
                )?,
            },
            policy: policy(self.policy)?,
            untag_by: choice(
                "registry.untag",
                &self.registry.untag,
                &[("tag_and_digest", UntagBy::TagAndDigest), ("tag", UntagBy::Tag)],
            )?,
            aws: aws(self.aws)?,
            listen: self.http.listen.parse().map_err(|_| {
                wrong("http.listen", &self.http.listen, "an address and port such as 0.0.0.0:8080")
            })?,
            grace: duration(
                "shutdown.grace",
                &self.shutdown.grace,
                Duration::from_secs(2),
                // Fargate's longest stopTimeout (ECS API reference, ContainerDefinition).
                Duration::from_secs(120),
            )?,
            log_format: choice(
                "telemetry.log_format",
                &self.telemetry.log_format,
                &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)],
            )?,
        })
    }
}

fn policy(raw: RawPolicy) -> Result<Policy, ConfigError> {
    let globs = |key: &str, patterns: List| {
        Globs::new(patterns.0).map_err(|error| ConfigError::Key {
            key: key.to_owned(),
            problem: format!("{error}; expected globs such as release-*"),
        })
    };
    Ok(Policy {
        mode: choice(
            "policy.mode",
            &raw.mode,
            &[("enforce", Mode::Enforce), ("audit", Mode::Audit)],
        )?,
        action: choice(
            "policy.action",
            &raw.action,
            &[("quarantine", Action::Quarantine), ("delete", Action::Delete)],
        )?,
        limits: limits(raw.max_findings)?,
        protected_tags: globs("policy.protected_tags", raw.protected_tags)?,
        include: globs("policy.repositories.include", raw.repositories.include)?,
        exclude: globs("policy.repositories.exclude", raw.repositories.exclude)?,
        accounts: names("policy.accounts", raw.accounts, AccountId::parse)?,
        regions: names("policy.regions", raw.regions, Region::parse)?,
    })
}

/// Limits by severity: a number, or `unlimited` to lift a default.
fn limits(raw: BTreeMap<String, Value>) -> Result<Limits, ConfigError> {
    let mut limits: BTreeMap<Severity, u64> =
        [(Severity::Critical, 0), (Severity::High, 0)].into_iter().collect();
    for (word, value) in raw {
        let key = format!("policy.max_findings.{word}");
        let Some(severity) = Severity::ALL.into_iter().find(|known| known.as_key() == word) else {
            let known: Vec<_> = Severity::ALL.into_iter().map(Severity::as_key).collect();
            let problem = format!("is not a severity; use one of {}", known.join(", "));
            return Err(ConfigError::Key { key, problem });
        };
        if value.to_string() == "unlimited" {
            limits.remove(&severity);
            continue;
        }
        let limit = whole_number(&value).ok_or_else(|| {
            wrong(&key, &value.to_string(), "a whole number from 0, or unlimited")
        })?;
        limits.insert(severity, limit);
    }
    Ok(Limits::new(limits))
}

fn aws(raw: RawAws) -> Result<AwsSettings, ConfigError> {
    if let Some(role) = &raw.assume_role
        && !(role.starts_with("arn:") && role.contains(":iam::{account}:role/"))
    {
        return Err(wrong(
            "aws.assume_role",
            role,
            "a role's ARN with {account} in the account's place, such as arn:aws:iam::{account}:role/tagwarden",
        ));
    }
    if raw.external_id.is_some() && raw.assume_role.is_none() {
        return Err(ConfigError::Key {
            key: "aws.external_id".to_owned(),
            problem: "is set without aws.assume_role; set both or neither".to_owned(),
        });
    }
    Ok(AwsSettings { assume_role: raw.assume_role, external_id: raw.external_id })
}

fn queue_url(url: Option<String>) -> Result<String, ConfigError> {
    let url = required("queue.url", url, QUEUE_EXAMPLE)?;
    let path = url
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.authority().is_some())
        .map(|uri| uri.path().split('/').filter(|part| !part.is_empty()).count());
    if path.is_none_or(|parts| parts < 2) {
        return Err(wrong("queue.url", &url, QUEUE_EXAMPLE));
    }
    if url.ends_with(".fifo") {
        return Err(wrong(
            "queue.url",
            &url,
            "a standard queue: in a FIFO queue one message that waits holds up its whole group",
        ));
    }
    Ok(url)
}

fn topic_region(arn: &str) -> Result<Region, ConfigError> {
    let parts: Vec<_> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, account, name]
            if AccountId::parse(*account).is_ok()
                && !name.is_empty()
                && !name.ends_with(".fifo") =>
        {
            Region::parse(*region).map_err(|_| wrong("notify.topic_arn", arn, TOPIC_EXAMPLE))
        }
        [.., name] if name.ends_with(".fifo") => Err(wrong(
            "notify.topic_arn",
            arn,
            "a standard topic: FIFO topics deliver neither to e-mail nor to chat",
        )),
        _ => Err(wrong("notify.topic_arn", arn, TOPIC_EXAMPLE)),
    }
}

fn required(key: &str, value: Option<String>, example: &str) -> Result<String, ConfigError> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| ConfigError::Key {
        key: key.to_owned(),
        problem: format!("is missing; expected {example}"),
    })
}

fn choice<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
    choices.iter().find(|(word, _)| *word == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        wrong(key, value, &words.join(" or "))
    })
}

fn whole_number(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn within(key: &str, value: &Value, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
    whole_number(value)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            wrong(key, &value.to_string(), &expected)
        })
}

fn duration(
    key: &str,
    value: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, ConfigError> {
    let expected = format!(
        "a duration with its unit from {} to {}",
        humantime::format_duration(least),
        humantime::format_duration(most)
    );
    humantime::parse_duration(value)
        .ok()
        .filter(|duration| (least..=most).contains(duration))
        .ok_or_else(|| wrong(key, value, &expected))
}

fn names<T: Ord>(
    key: &str,
    raw: Option<List>,
    parse: impl Fn(String) -> Result<T, InvalidName>,
) -> Result<Option<BTreeSet<T>>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.0.is_empty() {
        let problem = "is an empty list; leave it out for the default".to_owned();
        return Err(ConfigError::Key { key: key.to_owned(), problem });
    }
    let names = raw.0.into_iter().map(parse).collect::<Result<_, _>>();
    names
        .map(Some)
        .map_err(|error| ConfigError::Key { key: key.to_owned(), problem: error.to_string() })
}

fn wrong(key: &str, value: &str, expected: &str) -> ConfigError {
    ConfigError::Key { key: key.to_owned(), problem: format!("is {value:?}; expected {expected}") }
}
