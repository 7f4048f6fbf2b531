//! Configuration: turns the raw settings that people write into settings that have been checked.
//!
//! Settings come from three layers, and the later one wins: the defaults, one file, and environment
//! variables (`layers`). `raw` gives the merged layers their types, `shape` turns serde's errors
//! into errors that name a key, and `check` and `policy` check the values. `schema` describes the
//! file for editors, and `effective` lists every key with its value and its source.
//!
//! A key that is unknown, has the wrong type or contradicts another is an error that names the key.
//! Nothing is silently ignored, because a key that somebody set and nobody reads would leave images
//! unprotected.

mod check;
mod effective;
mod layers;
mod policy;
mod raw;
mod schema;
mod shape;
mod yaml;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::globs::Globs;
use crate::domain::image::{Home, Region};
use crate::domain::notice::NoticeAction;
use crate::domain::policy::Policy;
use crate::domain::text::{is_unseen, start};

pub use effective::{Entry, Origin, effective};
pub use schema::schema;

/// The environment variable that holds the path of the configuration file.
pub const FILE_VARIABLE: &str = "TAGWARDEN_CONFIG";
/// The environment variable that holds the text of the configuration file, as TOML.
pub const TEXT_VARIABLE: &str = "TAGWARDEN_CONFIG_TEXT";
/// The prefix of every environment variable that sets a key.
const KEY_PREFIX: &str = "TAGWARDEN__";

/// The variables of the AWS SDK that choose a kind of endpoint.
const ENDPOINT_KINDS: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];
/// The variables of the AWS SDK that set an endpoint, for the services that the worker calls.
const ENDPOINTS: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_SNS",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_STS",
];

/// A reason why the configuration cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key has a value that cannot be used, or is missing.
    #[error("configuration key {key}: {problem}")]
    Key {
        /// The key, with dots between levels.
        key: String,
        /// The mistake, and what would be right.
        problem: String,
    },
    /// The configuration file cannot be read.
    #[error("configuration file {}: {problem}", path.display())]
    File {
        /// The file's path.
        path: PathBuf,
        /// The mistake.
        problem: String,
    },
    /// More than one configuration file was given.
    #[error("{first} and {second} are both set; give one configuration file only")]
    TwoFiles {
        /// One source of the file.
        first: &'static str,
        /// The other source.
        second: &'static str,
    },
    /// The configuration text cannot be read.
    #[error("configuration: {0}")]
    Text(String),
}

impl ConfigError {
    /// Returns the same error as one readable line, whatever the keys and values contain.
    fn in_one_line(self) -> Self {
        let line = |text: &str| start(&text.replace(is_unseen, " "), 1000);
        match self {
            Self::Key { key, problem } => {
                // TOML writes a key without a name as two quotes.
                let key = if key.is_empty() { r#""""#.to_owned() } else { start(&line(&key), 200) };
                Self::Key { key, problem: line(&problem) }
            }
            Self::File { path, problem } => Self::File { path, problem: line(&problem) },
            Self::Text(problem) => Self::Text(line(&problem)),
            two @ Self::TwoFiles { .. } => two,
        }
    }
}

/// The sources of the configuration. The caller gathers them, so that tests can pass their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the command line names.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub environment: HashMap<String, String>,
}

impl Sources {
    /// Returns the environment of this process, and the file that the command line names.
    ///
    /// Variables that are not UTF-8 cannot be ours and are left out.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment }
    }

    /// Returns the Region that the SDK takes from the environment, if one is set.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|name| Region::parse(self.environment.get(name)?).ok())
    }

    /// Returns an error if the environment sets both an endpoint and a kind of endpoint. The SDK
    /// refuses every call of such a service, which looks as if the network were down.
    fn one_kind_of_endpoint(&self) -> Result<(), ConfigError> {
        let value = |name: &str| self.environment.get(name).map(String::as_str).unwrap_or_default();
        let is_true = |name: &str| value(name).eq_ignore_ascii_case("true");
        if is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
            return Ok(());
        }
        let kind = ENDPOINT_KINDS.into_iter().find(|name| is_true(name));
        let endpoint = ENDPOINTS.into_iter().find(|name| !value(name).is_empty());
        match (kind, endpoint) {
            (Some(kind), Some(endpoint)) => Err(ConfigError::Text(format!(
                "{kind} and {endpoint} are both set, and the AWS SDK accepts only one of them; set \
                 {kind} alone, or set only an endpoint of that kind for each service"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the environment variables that look like ours and that nothing reads, such as
    /// `TAGWARDEN_QUEUE_URL` for `TAGWARDEN__QUEUE__URL`. They deserve a warning and are not an
    /// error, because orchestrators set variables that are named after services.
    pub fn unread_variables(&self) -> impl Iterator<Item = &str> {
        self.environment.keys().map(String::as_str).filter(|name| {
            // Nothing reads names in lower case either.
            name.to_uppercase().starts_with("TAGWARDEN_")
                && !name.starts_with(KEY_PREFIX)
                && *name != FILE_VARIABLE
                && *name != TEXT_VARIABLE
        })
    }
}

/// How a tag is deleted: by tag and digest, or by tag alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntagBy {
    /// By tag and digest: ECR compares and deletes in one step.
    TagAndDigest,
    /// By tag alone, after reading once more that it points to the digest. This is for registries
    /// that ignore the digest, such as emulators. A tag can move between the read and the delete.
    Tag,
}

/// The form of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeFormat {
    /// Text for people, by e-mail.
    Text,
    /// The versioned JSON document, for programs.
    Json,
    /// The custom notification of Amazon Q Developer in chat applications.
    Chat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for a person at a terminal.
    Pretty,
}

/// The settings of `queue.*`.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The queue's URL.
    pub url: String,
    /// The number of messages that are worked on at once.
    pub max_in_flight: usize,
    /// The time that a received message stays invisible unless its lease is extended.
    pub visibility_timeout: Duration,
}

impl QueueSettings {
    /// Returns the account and the Region that the URL names, as every queue at AWS does. If the
    /// host names no Region, it is `elsewhere`.
    #[must_use]
    pub fn home(&self, elsewhere: Option<&Region>) -> Option<Home> {
        check::home_of(&self.url, elsewhere)
    }

    /// Returns the queue's name, the last part of its URL.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.url.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned)
    }
}

/// One topic, and the notices that it receives.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// The topic's ARN.
    pub arn: String,
    /// The topic's Region, from its ARN.
    pub region: Region,
    /// The form of its notices.
    pub format: NoticeFormat,
    /// The repositories whose notices it receives. If there are none, it receives those of all.
    pub repositories: Globs,
    /// The actions whose notices it receives.
    pub actions: BTreeSet<NoticeAction>,
}

/// The settings of `notify.*`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// The topics, at least one.
    pub topics: Vec<TopicSettings>,
}

/// The settings of `limits.*`: how many tags all tasks together may remove. `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Tags per hour.
    pub untags_per_hour: Option<usize>,
    /// Tags per hour in one repository.
    pub untags_per_hour_per_repository: Option<usize>,
    /// The number of tasks that share the limits.
    pub tasks: NonZeroUsize,
}

impl LimitSettings {
    /// Returns the part of a limit that each task may use.
    #[must_use]
    pub fn share(&self, limit: usize) -> usize {
        limit / self.tasks
    }
}

impl Default for LimitSettings {
    /// Sets no limits.
    fn default() -> Self {
        Self {
            untags_per_hour: None,
            untags_per_hour_per_repository: None,
            tasks: NonZeroUsize::MIN,
        }
    }
}

/// The settings of `sweep.*`.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// The age of basic scanning's last scan of an image from which a sweep asks for another.
    /// `None` means that a sweep never asks.
    pub rescan_after: Option<Duration>,
    /// Calls of one API per second that the sweeps of this task make in one account and Region.
    pub calls_per_second: u32,
}

/// The settings of `aws.*`.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The ARN of the role to assume in another account, with `{account}` in place of the account.
    pub assume_role: Option<String>,
    /// The external id that is sent when the role is assumed.
    pub external_id: Option<String>,
}

/// The whole configuration, after all checks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The queue.
    pub queue: QueueSettings,
    /// The topics that notices are published to.
    pub notify: NotifySettings,
    /// The policy: which images may keep their tags.
    pub policy: Policy,
    /// The limits on removals.
    pub limits: LimitSettings,
    /// The settings of sweeps.
    pub sweep: SweepSettings,
    /// How tags are deleted.
    pub untag_by: UntagBy,
    /// The role in other accounts.
    pub aws: AwsSettings,
    /// The address that serves health and metrics.
    pub listen: SocketAddr,
    /// The longest time from SIGTERM to the end of the process.
    pub grace: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
}

/// The part of the configuration that is needed to judge an image, after its checks. `explain`
/// needs neither a queue nor topics, and `sweep` needs no topics unless it acts.
#[derive(Clone, Debug)]
pub struct JudgingSettings {
    /// The policy: which images may keep their tags.
    pub policy: Policy,
    /// The role in other accounts.
    pub aws: AwsSettings,
    /// The worker's own account and Region, if the queue's URL is given and names them.
    pub own: Option<Home>,
    /// The topics. The list is empty if none is given.
    pub topics: Vec<TopicSettings>,
    /// The settings of sweeps.
    pub sweep: SweepSettings,
}

impl JudgingSettings {
    /// Reads every source, and checks the keys that judging needs.
    ///
    /// # Errors
    /// Returns the first mistake, which names its key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let region = sources.region();
        raw::RawSettings::read(sources)
            .and_then(|raw| raw.check_judging(region.as_ref()))
            .map_err(ConfigError::in_one_line)
    }
}

impl Settings {
    /// Reads every source, and checks every key.
    ///
    /// # Errors
    /// Returns the first mistake, which names its key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        raw::RawSettings::read(sources)
            .and_then(raw::RawSettings::check)
            .and_then(|settings| sources.one_kind_of_endpoint().map(|()| settings))
            .map_err(ConfigError::in_one_line)
    }
}

#[cfg(test)]
mod tests;
