//! Checks of the values that files and variables give, and the small parsers that these checks
//! share (`choice`, `within`, `duration`). The policy has a module of its own, `policy`.
//!
//! Accounts and Regions are parsed here, before anything is called, because a Region becomes part
//! of a host name.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::http::Uri;
use config::Value;

use super::policy;
use super::raw::{FORMATS, List, RawAws, RawLimits, RawNotify, RawSettings, RawSweep};
use super::{
    AwsSettings, ConfigError, JudgingSettings, LimitSettings, LogFormat, NoticeFormat,
    NotifySettings, QueueSettings, Settings, SweepSettings, TopicSettings, UntagBy, start,
};
use crate::domain::globs::Globs;
use crate::domain::image::{AccountId, Home, InvalidName, Region};
use crate::domain::notice::NoticeAction;

const QUEUE_EXAMPLE: &str =
    "the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
const TOPIC_EXAMPLE: &str = "the topic's ARN, such as arn:aws:sns:eu-west-1:111122223333:tagwarden";

/// The largest number of tasks that can share the limits.
pub(super) const MOST_TASKS: usize = 1000;
/// The number of characters of a value that an error quotes.
const SHOWN: usize = 200;

impl RawSettings {
    /// Checks every key, and that the keys do not contradict each other.
    pub(super) fn check(self) -> Result<Settings, ConfigError> {
        let visibility = given("queue.visibility_timeout", self.queue.visibility_timeout)?;
        let listen = given("http.listen", self.http.listen)?;
        let settings = Settings {
            queue: QueueSettings {
                url: queue_url(self.queue.url)?,
                max_in_flight: within(
                    "queue.max_in_flight",
                    &given("queue.max_in_flight", self.queue.max_in_flight)?,
                    1..=1024,
                )?,
                visibility_timeout: duration(
                    "queue.visibility_timeout",
                    &visibility,
                    Duration::from_secs(2),
                    Duration::from_secs(43_200),
                )?,
            },
            notify: notify(self.notify)?,
            policy: policy::policy(self.policy)?,
            aws: aws(self.aws)?,
            limits: limits(&self.limits)?,
            sweep: sweep(self.sweep)?,
            untag_by: choice(
                "registry.untag",
                &given("registry.untag", self.registry.untag)?,
                &[("tag_and_digest", UntagBy::TagAndDigest), ("tag", UntagBy::Tag)],
            )?,
            listen: listen.parse().map_err(|_| {
                wrong("http.listen", &listen, "an address and port such as 0.0.0.0:8080")
            })?,
            grace: duration(
                "shutdown.grace",
                &given("shutdown.grace", self.shutdown.grace)?,
                Duration::from_secs(2),
                // The longest stopTimeout of Fargate (ECS API reference, ContainerDefinition).
                Duration::from_secs(120),
            )?,
            log_format: choice(
                "telemetry.log_format",
                &given("telemetry.log_format", self.telemetry.log_format)?,
                &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)],
            )?,
        };
        one_partition(&settings.notify, &settings.aws)?;
        Ok(settings)
    }

    /// Checks the keys that are needed to judge an image. The queue and the topic may be missing.
    pub(super) fn check_judging(
        self,
        region: Option<&Region>,
    ) -> Result<JudgingSettings, ConfigError> {
        Ok(JudgingSettings {
            policy: policy::policy(self.policy)?,
            aws: aws(self.aws)?,
            own: match self.queue.url {
                Some(url) => home_of(&queue_url(Some(url))?, region),
                None => None,
            },
            topics: match (&self.notify.topic_arn, self.notify.topics.is_empty()) {
                (None, true) => Vec::new(),
                _ => notify(self.notify)?.topics,
            },
            sweep: sweep(self.sweep)?,
        })
    }
}

/// Returns the value of a key that the defaults set.
fn given<T>(key: &str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or_else(|| missing(key, "a value"))
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
            repositories: policy::globs(&key("repositories"), raw.repositories)?,
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
    let tasks = within(TASKS, &given(TASKS, raw.tasks.clone())?, 1..=MOST_TASKS)?;
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

/// Returns the account and the Region that a queue's URL names. The URL of an emulator names no
/// Region, so the Region is `elsewhere`. The same holds for the oldest host of all,
/// `queue.amazonaws.com`: it names no Region, and the SDK calls `elsewhere`.
pub(super) fn home_of(url: &str, elsewhere: Option<&Region>) -> Option<Home> {
    let uri = url.parse::<Uri>().ok()?;
    let account = uri.path().split('/').find(|part| !part.is_empty())?;
    let region = region_of(uri.host()?).or_else(|| elsewhere.cloned())?;
    Some(Home { account: AccountId::parse(account).ok()?, region })
}

/// Returns the Region in a host name of SQS (AWS General Reference, "Amazon SQS endpoints and
/// quotas"). It follows the name of the service or, in legacy host names, precedes `queue`.
fn region_of(host: &str) -> Option<Region> {
    let labels: Vec<_> = host.split('.').collect();
    // The host of an interface VPC endpoint has the endpoint's id before the service.
    let after = labels.iter().skip_while(|label| !["sqs", "sqs-fips"].contains(label)).nth(1);
    let region = match (after, labels.as_slice()) {
        (Some(region), _) => region,
        (None, [region, "queue", "amazonaws", ..]) => region,
        _ => return None,
    };
    Region::parse(*region).ok()
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

pub(super) fn missing(key: &str, expected: &str) -> ConfigError {
    ConfigError::Key { key: key.to_owned(), problem: format!("is missing; expected {expected}") }
}

/// Returns the error of a name that was given before.
pub(super) fn again(key: &str, name: &str, what: &str) -> ConfigError {
    let problem = format!("is {:?}, a duplicate; name each {what} once", start(name, SHOWN));
    ConfigError::Key { key: key.to_owned(), problem }
}

pub(super) fn choice<T: Copy>(
    key: &str,
    value: &str,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    choices.iter().find(|(word, _)| *word == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = match words.as_slice() {
            [others @ .., last] if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            words => words.join(""),
        };
        wrong(key, value, &expected)
    })
}

/// Returns the number that a value holds. A string counts too, because variables write numbers as
/// text.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    value.to_string().parse().ok()
}

pub(super) fn within(
    key: &str,
    value: &Value,
    range: RangeInclusive<usize>,
) -> Result<usize, ConfigError> {
    whole_number(value)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            wrong(key, &value.to_string(), &expected)
        })
}

pub(super) fn duration(
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

pub(super) fn names<T: Ord>(
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

pub(super) fn wrong(key: &str, value: &str, expected: &str) -> ConfigError {
    let problem = format!("is {:?}; expected {expected}", start(value, SHOWN));
    ConfigError::Key { key: key.to_owned(), problem }
}
