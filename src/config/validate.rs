//! Checks of the values that files and variables give, and the small parsers that these checks
//! share (`choice`, `within`, `duration`). The policy has a module of its own, `policy`.
//!
//! Accounts and Regions are parsed here, before anything is called, because a Region becomes part
//! of a host name.

mod policy;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::Uri;
use config::Value;

use super::JudgingSettings;
use super::bounds::MAX_TASKS;
use super::file::{
    FORMATS, List, RawAws, RawLimits, RawNotify, RawQueue, RawSettings, RawSweep, RawTopic,
};
use super::mistake::{Aspect, Gather, Mistake, Mistakes};
use super::value::{again, choice, duration, given, globs, missing, within, wrong};
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

/// The use of the settings. It decides which keys may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To work, which needs a queue, a topic and a mode.
    Working,
    /// To act on images without a queue, which needs a topic and a mode.
    Acting,
    /// To read and judge, which needs none of them.
    Reading,
}

/// Checks every key, and that the keys do not contradict each other.
pub(super) fn check(
    raw: RawSettings,
    purpose: Purpose,
    region: Option<&Region>,
) -> Result<JudgingSettings, Mistakes> {
    let mut all = Gather::default();
    let mode = raw.policy.mode().map(str::to_owned);
    if mode.is_none() && purpose != Purpose::Reading {
        all.add::<()>(Err(no_mode()));
    }
    let url = raw.queue.url.clone().filter(|url| !url.trim().is_empty());
    if url.is_none() && purpose == Purpose::Working {
        all.add::<()>(Err(missing("queue.url", QUEUE_EXAMPLE)));
    }
    let queue = all.add(queue(raw.queue, url));
    let notify = all.add(notify(raw.notify, purpose));
    let policy = all.add(policy::policy(raw.policy));
    let aws = all.add(aws(raw.aws));
    let limits = all.add(limits(&raw.limits));
    let sweep = all.add(sweep(raw.sweep));
    let untag_by = all.add(given("registry.untag", raw.registry.untag).and_then(|word| {
        let choices = [("tag_and_digest", UntagBy::TagAndDigest), ("tag", UntagBy::Tag)];
        choice("registry.untag", &word, &choices)
    }));
    let listen = all.add(listen(raw.http.listen));
    let grace = all.add(given("shutdown.grace", raw.shutdown.grace).and_then(|grace| {
        // The longest stopTimeout of Fargate (ECS API reference, ContainerDefinition).
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(120));
        duration("shutdown.grace", &grace, least, most)
    }));
    let log_format = given("telemetry.log_format", raw.telemetry.log_format);
    let log_format = all.add(log_format.and_then(|word| {
        let choices = [("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        choice("telemetry.log_format", &word, &choices)
    }));
    if let (Some(notify), Some(aws)) = (&notify, &aws) {
        all.add(one_partition(notify, aws));
    }
    all.finish(|| {
        let (queue, policy) = (queue?, policy?);
        Some(JudgingSettings {
            own: queue.as_ref().and_then(|queue| registry_of(&queue.url, region)),
            mode: mode.map(|_| policy.base.mode),
            queue,
            notify: notify?,
            policy,
            aws: aws?,
            limits: limits?,
            sweep: sweep?,
            untag_by: untag_by?,
            listen: listen?,
            grace: grace?,
            log_format: log_format?,
        })
    })
}

/// Returns the error of a missing mode. It has no default, because the choice decides whether tags
/// are removed.
fn no_mode() -> Mistake {
    let problem = "is missing: `audit` notifies and changes nothing, `enforce` removes tags";
    Mistake::of("policy.mode", Aspect::Absence, problem)
        .help("set it in the file, or by TAGWARDEN__POLICY__MODE")
}

/// Checks the address of health and metrics.
pub(super) fn listen(written: Option<String>) -> Result<SocketAddr, Mistake> {
    let written = given("http.listen", written)?;
    written
        .parse()
        .map_err(|_| wrong("http.listen", &written, "an address and port such as 0.0.0.0:8080"))
}

fn queue(raw: RawQueue, url: Option<String>) -> Result<Option<QueueSettings>, Mistakes> {
    const FLIGHT: &str = "queue.max_in_flight";
    const VISIBILITY: &str = "queue.visibility_timeout";
    let mut all = Gather::default();
    let url = url.map(|url| all.add(queue_url(url)));
    let flight = given(FLIGHT, raw.max_in_flight);
    let max_in_flight = all.add(flight.and_then(|number| within(FLIGHT, &number, 1..=1024)));
    let visibility = given(VISIBILITY, raw.visibility_timeout);
    let visibility_timeout = all.add(visibility.and_then(|visibility| {
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(43_200));
        duration(VISIBILITY, &visibility, least, most)
    }));
    all.finish(|| {
        let (max_in_flight, visibility_timeout) = (max_in_flight?, visibility_timeout?);
        Some(match url {
            Some(url) => Some(QueueSettings { url: url?, max_in_flight, visibility_timeout }),
            None => None,
        })
    })
}

fn notify(raw: RawNotify, purpose: Purpose) -> Result<NotifySettings, Mistakes> {
    let mut all = Gather::default();
    let format = given("notify.format", raw.format);
    let format = all.add(format.and_then(|word| self::format("notify.format", &word)));
    let inherited = format.unwrap_or(NoticeFormat::Text);
    let mut topics: Vec<TopicSettings> = Vec::new();
    if let Some(arn) = raw.topic_arn.filter(|arn| !arn.trim().is_empty()) {
        if let Some(region) = all.add(topic_region("notify.topic_arn", &arn)) {
            let (repositories, actions) = (Globs::default(), NoticeAction::ALL.into());
            topics.push(TopicSettings { region, arn, format: inherited, repositories, actions });
        }
    } else if raw.topics.is_empty() && purpose != Purpose::Reading {
        let expected = format!("{TOPIC_EXAMPLE}, or one of notify.topics in the file");
        all.add::<()>(Err(missing("notify.topic_arn", &expected)));
    }
    for (at, raw) in raw.topics.into_iter().enumerate() {
        let key = format!("notify.topics[{at}]");
        let Some(topic) = all.add(topic(&key, raw, inherited)) else { continue };
        if topics.iter().any(|other| other.arn == topic.arn) {
            all.add::<()>(Err(again(&format!("{key}.arn"), &topic.arn, "topic")));
        }
        topics.push(topic);
    }
    all.finish(|| Some(NotifySettings { topics }))
}

fn topic(key: &str, raw: RawTopic, inherited: NoticeFormat) -> Result<TopicSettings, Mistakes> {
    let key = |name: &str| format!("{key}.{name}");
    let mut all = Gather::default();
    let arn = raw.arn.filter(|arn| !arn.trim().is_empty());
    let arn = all.add(arn.ok_or_else(|| missing(&key("arn"), TOPIC_EXAMPLE)));
    let region = arn.as_ref().and_then(|arn| all.add(topic_region(&key("arn"), arn)));
    let format = all.add(raw.format.map_or(Ok(inherited), |raw| format(&key("format"), &raw)));
    let repositories = all.add(globs(&key("repositories"), raw.repositories));
    let actions = all.add(actions(&key("actions"), &raw.actions));
    all.finish(|| {
        Some(TopicSettings {
            region: region?,
            arn: arn?,
            format: format?,
            repositories: repositories?,
            actions: actions?,
        })
    })
}

fn format(key: &str, word: &str) -> Result<NoticeFormat, Mistake> {
    let choices = [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat];
    choice(key, word, &FORMATS.into_iter().zip(choices).collect::<Vec<_>>())
}

fn actions(key: &str, words: &List) -> Result<BTreeSet<NoticeAction>, Mistake> {
    let choices = NoticeAction::ALL.map(|action| (action.as_str(), action));
    if words.0.is_empty() {
        return Ok(NoticeAction::ALL.into());
    }
    words.0.iter().map(|word| choice(key, word, &choices)).collect()
}

fn sweep(raw: RawSweep) -> Result<SweepSettings, Mistakes> {
    const AFTER: &str = "sweep.rescan_after";
    const CALLS: &str = "sweep.calls_per_second";
    let mut all = Gather::default();
    let after = all.add(given(AFTER, raw.rescan_after).and_then(|after| {
        if after == "never" {
            return Ok(None);
        }
        // ECR scans an image at most once a day on request (ECR API reference, StartImageScan).
        let (least, most) = (Duration::from_secs(24 * 3600), Duration::from_secs(365 * 24 * 3600));
        let expected = "never, or a duration with its unit from 1day to 365days";
        let duration = duration(AFTER, &after, least, most);
        duration.map(Some).map_err(|_| wrong(AFTER, &after, expected))
    }));
    let calls = given(CALLS, raw.calls_per_second);
    let calls = all.add(calls.and_then(|number| within(CALLS, &number, 1..=1000)));
    all.finish(|| {
        let calls_per_second = u32::try_from(calls?).unwrap_or(1);
        Some(SweepSettings { rescan_after: after?, calls_per_second })
    })
}

fn limits(raw: &RawLimits) -> Result<LimitSettings, Mistakes> {
    const TASKS: &str = "limits.tasks";
    const HOUR: &str = "limits.untags_per_hour";
    const REPOSITORY: &str = "limits.untags_per_hour_per_repository";
    let mut all = Gather::default();
    let tasks = given(TASKS, raw.tasks.clone());
    let tasks = all.add(tasks.and_then(|number| within(TASKS, &number, 1..=MAX_TASKS)));
    let least = tasks.unwrap_or(1);
    let hour = all.add(limit(HOUR, raw.untags_per_hour.as_ref(), least));
    let repository = all.add(limit(REPOSITORY, raw.untags_per_hour_per_repository.as_ref(), least));
    all.finish(|| {
        Some(LimitSettings {
            untags_per_hour: hour?,
            untags_per_hour_per_repository: repository?,
            tasks: NonZeroUsize::new(tasks?)?,
        })
    })
}

/// Returns a limit, unless the share of each task would round down to nothing.
fn limit(key: &str, value: Option<&Value>, tasks: usize) -> Result<Option<usize>, Mistake> {
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
        return Err(Mistake::value("limits.tasks", problem));
    }
    Ok(Some(number))
}

fn aws(raw: RawAws) -> Result<AwsSettings, Mistake> {
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
        let problem = "is set without aws.assume_role; set both or neither";
        return Err(Mistake::value("aws.external_id", problem));
    }
    Ok(AwsSettings { assume_role: raw.assume_role, external_id: raw.external_id })
}

/// Checks that the role and the topic are in one partition of AWS, because no role reaches from one
/// partition into another.
fn one_partition(notify: &NotifySettings, aws: &AwsSettings) -> Result<(), Mistake> {
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

fn queue_url(url: String) -> Result<String, Mistake> {
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

fn topic_region(key: &str, arn: &str) -> Result<Region, Mistake> {
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
