//! Checks of the values that files and variables give, and the small parsers that these checks
//! share (`choice`, `within`, `duration`). `notify`, `policy` and `restore` have modules of
//! their own.
//!
//! Accounts and Regions are parsed here, before anything is called, because a Region becomes part
//! of a host name.

mod notify;
mod policy;
mod restore;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::Uri;
use config::Value;

use super::JudgingSettings;
use super::bounds::MAX_TASKS;
use super::file::{RawAws, RawLimits, RawQueue, RawSettings, RawSweep};
use super::mistake::{Aspect, Gather, Mistake, Mistakes};
use super::value::{choice, duration, given, missing, within, wrong};
use crate::aws::AwsSettings;
use crate::domain::names::Region;
use crate::enforce::LimitSettings;
use crate::notify::NotifySettings;
use crate::queue::{QueueSettings, registry_of};
use crate::registry::{Records, UntagBy};
use crate::sweep::SweepSettings;
use crate::telemetry::logs::LogFormat;

const QUEUE_EXAMPLE: &str =
    "the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";

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
    let watch = all.add(given("watch", raw.watch).and_then(|watch| {
        choice("watch", &watch.to_string(), &[("true", true), ("false", false)])
    }));
    let mode = raw.policy.mode().map(str::to_owned);
    if mode.is_none() && purpose != Purpose::Reading {
        all.add::<()>(Err(no_mode()));
    }
    let url = raw.queue.url.clone().filter(|url| !url.trim().is_empty());
    if url.is_none() && purpose == Purpose::Working {
        all.add::<()>(Err(missing("queue.url", QUEUE_EXAMPLE)));
    }
    let queue = all.add(queue(raw.queue, url));
    let notify = all.add(notify::notify(raw.notify, purpose != Purpose::Reading));
    let policy = all.add(policy::policy(raw.policy));
    let aws = all.add(aws(raw.aws));
    let limits = all.add(limits(&raw.limits));
    let sweep = all.add(sweep(raw.sweep));
    let untag_by = all.add(given("registry.untag", raw.registry.untag).and_then(|word| {
        let choices = [("tag_and_digest", UntagBy::TagAndDigest), ("tag", UntagBy::Tag)];
        choice("registry.untag", &word, &choices)
    }));
    let records = all.add(given("registry.records", raw.registry.records).and_then(|word| {
        let choices = [("required", Records::Required), ("off", Records::Off)];
        choice("registry.records", &word, &choices)
    }));
    let restore = all.add(restore::restore(raw.restore));
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
            watch: watch?,
            own: queue.as_ref().and_then(|queue| registry_of(&queue.url, region)),
            mode: mode.map(|_| policy.base.mode),
            queue,
            notify: notify?,
            policy,
            aws: aws?,
            limits: limits?,
            sweep: sweep?,
            untag_by: untag_by?,
            records: records?,
            restore: restore?,
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
