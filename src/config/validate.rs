//! Checks of the values that files and variables give, and the small parsers that these checks
//! share (`choice`, `within`, `duration`). The policy has a module of its own, `policy`.
//!
//! Accounts and Regions are parsed here, before anything is called, because a Region becomes part
//! of a host name.

mod policy;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::Uri;
use config::Value;

use super::bounds::MAX_TASKS;
use super::file::{FORMATS, List, RawAws, RawLimits, RawNotify, RawSettings, RawSweep};
use super::value::{again, choice, duration, given, globs, missing, within, wrong};
use super::{ConfigError, JudgingSettings, Settings};
use crate::aws::AwsSettings;
use crate::domain::globs::Globs;
use crate::domain::names::{AccountId, Region};
use crate::domain::notice::NoticeAction;
use crate::enforce::LimitSettings;
use crate::notify::{NoticeFormat, NotifySettings, TopicSettings};
use crate::queue::{QueueSettings, registry_of};
use crate::registry::UntagBy;
use crate::sweep::SweepSettings;
use crate::telemetry::logs::LogFormat;

const QUEUE_EXAMPLE: &str =
    "the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
const TOPIC_EXAMPLE: &str = "the topic's ARN, such as arn:aws:sns:eu-west-1:111122223333:tagwarden";

/// Checks every key, and that the keys do not contradict each other.
pub(super) fn check(raw: RawSettings) -> Result<Settings, ConfigError> {
    let visibility = given("queue.visibility_timeout", raw.queue.visibility_timeout)?;
    let listen = given("http.listen", raw.http.listen)?;
    let settings = Settings {
        queue: QueueSettings {
            url: queue_url(raw.queue.url)?,
            max_in_flight: within(
                "queue.max_in_flight",
                &given("queue.max_in_flight", raw.queue.max_in_flight)?,
                1..=1024,
            )?,
            visibility_timeout: duration(
                "queue.visibility_timeout",
                &visibility,
                Duration::from_secs(2),
                Duration::from_secs(43_200),
            )?,
        },
        notify: notify(raw.notify)?,
        policy: policy::policy(raw.policy)?,
        aws: aws(raw.aws)?,
        limits: limits(&raw.limits)?,
        sweep: sweep(raw.sweep)?,
        untag_by: choice(
            "registry.untag",
            &given("registry.untag", raw.registry.untag)?,
            &[("tag_and_digest", UntagBy::TagAndDigest), ("tag", UntagBy::Tag)],
        )?,
        listen: listen.parse().map_err(|_| {
            wrong("http.listen", &listen, "an address and port such as 0.0.0.0:8080")
        })?,
        grace: duration(
            "shutdown.grace",
            &given("shutdown.grace", raw.shutdown.grace)?,
            Duration::from_secs(2),
            // The longest stopTimeout of Fargate (ECS API reference, ContainerDefinition).
            Duration::from_secs(120),
        )?,
        log_format: choice(
            "telemetry.log_format",
            &given("telemetry.log_format", raw.telemetry.log_format)?,
            &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)],
        )?,
    };
    one_partition(&settings.notify, &settings.aws)?;
    Ok(settings)
}

/// Checks the keys that are needed to judge an image. The queue and the topic may be missing.
pub(super) fn check_judging(
    raw: RawSettings,
    region: Option<&Region>,
) -> Result<JudgingSettings, ConfigError> {
    Ok(JudgingSettings {
        policy: policy::policy(raw.policy)?,
        aws: aws(raw.aws)?,
        own: match raw.queue.url {
            Some(url) => registry_of(&queue_url(Some(url))?, region),
            None => None,
        },
        topics: match (&raw.notify.topic_arn, raw.notify.topics.is_empty()) {
            (None, true) => Vec::new(),
            _ => notify(raw.notify)?.topics,
        },
        sweep: sweep(raw.sweep)?,
    })
}

fn notify(raw: RawNotify) -> Result<NotifySettings, ConfigError> {
    let inherited = given("notify.format", raw.format)?;
    let format = format("notify.format", &inherited)?;
    let mut topics = Vec::new();
    if let Some(arn) = raw.topic_arn.filter(|arn| !arn.trim().is_empty()) {
        topics.push(TopicSettings {
            region: topic_region("notify.topic_arn", &arn)?,
            arn,
            format,
            repositories: Globs::default(),
            actions: NoticeAction::ALL.into(),
        });
    }
    for (at, raw) in raw.topics.into_iter().enumerate() {
        let key = |name: &str| format!("notify.topics[{at}].{name}");
        let arn = raw.arn.filter(|arn| !arn.trim().is_empty());
        let arn = arn.ok_or_else(|| missing(&key("arn"), TOPIC_EXAMPLE))?;
        if topics.iter().any(|topic| topic.arn == arn) {
            return Err(again(&key("arn"), &arn, "topic"));
        }
        topics.push(TopicSettings {
            region: topic_region(&key("arn"), &arn)?,
            arn,
            format: raw.format.map_or(Ok(format), |raw| self::format(&key("format"), &raw))?,
            repositories: globs(&key("repositories"), raw.repositories)?,
            actions: actions(&key("actions"), &raw.actions)?,
        });
    }
    if topics.is_empty() {
        let expected = format!("{TOPIC_EXAMPLE}, or one of notify.topics in the file");
        return Err(missing("notify.topic_arn", &expected));
    }
    Ok(NotifySettings { topics })
}

fn format(key: &str, word: &str) -> Result<NoticeFormat, ConfigError> {
    let choices = [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat];
    choice(key, word, &FORMATS.into_iter().zip(choices).collect::<Vec<_>>())
}

fn actions(key: &str, words: &List) -> Result<BTreeSet<NoticeAction>, ConfigError> {
    let choices = NoticeAction::ALL.map(|action| (action.as_str(), action));
    if words.0.is_empty() {
        return Ok(NoticeAction::ALL.into());
    }
    words.0.iter().map(|word| choice(key, word, &choices)).collect()
}

fn sweep(raw: RawSweep) -> Result<SweepSettings, ConfigError> {
    const AFTER: &str = "sweep.rescan_after";
    const CALLS: &str = "sweep.calls_per_second";
    let after = given(AFTER, raw.rescan_after)?;
    // ECR scans an image at most once a day on request (ECR API reference, StartImageScan).
    let (least, most) = (Duration::from_secs(24 * 3600), Duration::from_secs(365 * 24 * 3600));
    let calls = within(CALLS, &given(CALLS, raw.calls_per_second)?, 1..=1000)?;
    Ok(SweepSettings {
        rescan_after: match after.as_str() {
            "never" => None,
            after => Some(duration(AFTER, after, least, most).map_err(|_| {
                wrong(AFTER, after, "never, or a duration with its unit from 1day to 365days")
            })?),
        },
        calls_per_second: u32::try_from(calls).unwrap_or(1),
    })
}

fn limits(raw: &RawLimits) -> Result<LimitSettings, ConfigError> {
    const TASKS: &str = "limits.tasks";
    let tasks = within(TASKS, &given(TASKS, raw.tasks.clone())?, 1..=MAX_TASKS)?;
    let limit = |key: &str, value: Option<&Value>| {
        let text = value.map(ToString::to_string).unwrap_or_default();
        if text == "unlimited" {
            return Ok(None);
        }
        let number = text.parse().ok().filter(|number| *number > 0);
        let expected = "a whole number from 1, or unlimited; to remove no tags, use policy.mode";
        let number: usize = number.ok_or_else(|| wrong(key, &text, expected))?;
        if number < tasks {
            let problem = format!(
                "is {tasks}, so each task may use {number}/{tasks} of {key}, which rounds down to \
                 none; expected at most {number} tasks, or at least {tasks} for {key}"
            );
            return Err(ConfigError::Key { key: TASKS.to_owned(), problem });
        }
        Ok(Some(number))
    };
    Ok(LimitSettings {
        untags_per_hour: limit("limits.untags_per_hour", raw.untags_per_hour.as_ref())?,
        untags_per_hour_per_repository: limit(
            "limits.untags_per_hour_per_repository",
            raw.untags_per_hour_per_repository.as_ref(),
        )?,
        tasks: NonZeroUsize::new(tasks).unwrap_or(NonZeroUsize::MIN),
    })
}

fn aws(raw: RawAws) -> Result<AwsSettings, ConfigError> {
    let is_role = |role: &str| {
        role.starts_with("arn:")
            && role.contains(":iam::{account}:role/")
            && !role.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if let Some(role) = &raw.assume_role
        && !is_role(role)
    {
        return Err(wrong(
            "aws.assume_role",
            role,
            "a role's ARN with {account} in the account's place, such as \
             arn:aws:iam::{account}:role/tagwarden",
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

/// Checks that the role and the topic are in one partition of AWS, because no role reaches from one
/// partition into another.
fn one_partition(notify: &NotifySettings, aws: &AwsSettings) -> Result<(), ConfigError> {
    let partition = |arn: &str| arn.split(':').nth(1).unwrap_or_default().to_owned();
    let (Some(role), Some(topic)) = (&aws.assume_role, notify.topics.first()) else {
        return Ok(());
    };
    let expected = format!("a role in the same partition as {}", topic.arn);
    match partition(role) == partition(&topic.arn) {
        true => Ok(()),
        false => Err(wrong("aws.assume_role", role, &expected)),
    }
}

fn queue_url(url: Option<String>) -> Result<String, ConfigError> {
    let url = url.filter(|url| !url.trim().is_empty());
    let url = url.ok_or_else(|| missing("queue.url", QUEUE_EXAMPLE))?;
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
            "a standard queue: in a FIFO queue one waiting message holds up its whole group",
        ));
    }
    Ok(url)
}

fn topic_region(key: &str, arn: &str) -> Result<Region, ConfigError> {
    let parts: Vec<_> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, name]
            if AccountId::parse(*account).is_ok()
                && is_topic_name(name)
                && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-') =>
        {
            Region::parse(*region).map_err(|_| wrong(key, arn, TOPIC_EXAMPLE))
        }
        [.., name] if name.ends_with(".fifo") => Err(wrong(
            key,
            arn,
            "a standard topic: FIFO topics deliver neither to e-mail nor to chat",
        )),
        _ => Err(wrong(key, arn, TOPIC_EXAMPLE)),
    }
}

/// Returns whether a standard topic can have this name (SNS API reference, CreateTopic). The name
/// of a FIFO topic has a dot.
fn is_topic_name(name: &str) -> bool {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=256).contains(&name.len()) && name.chars().all(is_of_a_name)
}
