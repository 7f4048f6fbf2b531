//! Configuration: raw settings as they are written, turned into settings that have been checked.
//!
//! Sources, later ones winning: defaults, one file, environment variables. Anything unknown, of the
//! wrong type or contradictory is an error that names its key; nothing is silently ignored.

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
/// What every environment variable that sets a key begins with.
const KEY_PREFIX: &str = "TAGWARDEN__";

/// The SDK's variables that choose among AWS's endpoints.
const ENDPOINT_KINDS: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];
/// The SDK's variables that name the endpoints of the services that the worker calls.
const ENDPOINTS: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_SNS",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_STS",
];

/// Why the configuration cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key has a value that cannot be used, or is missing.
    #[error("configuration key {key}: {problem}")]
    Key {
        /// The key, with dots between levels.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The configuration file cannot be read.
    #[error("configuration file {}: {problem}", path.display())]
    File {
        /// The file's path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// More than one configuration file was given.
    #[error("{first} and {second} are both set; give one configuration file only")]
    TwoFiles {
        /// One source of the file.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The configuration text cannot be read.
    #[error("configuration: {0}")]
    Text(String),
}

impl ConfigError {
    /// The same in one line that can be read, whatever keys and values hold.
    fn in_one_line(self) -> Self {
        let line = |text: &str| start(&text.replace(is_unseen, " "), 1000);
        match self {
            Self::Key { key, problem } => {
                // A key without a name, as TOML writes it.
                let key = if key.is_empty() { r#""""#.to_owned() } else { start(&line(&key), 200) };
                Self::Key { key, problem: line(&problem) }
            }
            Self::File { path, problem } => Self::File { path, problem: line(&problem) },
            Self::Text(problem) => Self::Text(line(&problem)),
            two @ Self::TwoFiles { .. } => two,
        }
    }
}

/// Where the configuration comes from, gathered by the caller so that tests can give their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: HashMap<String, String>,
}

impl Sources {
    /// The process's own environment, and the file that the command line named.
    ///
    /// Variables that are not UTF-8 cannot be ours and are left out.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment }
    }

    /// The Region that the SDK takes from the environment, where one is set.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|name| Region::parse(self.environment.get(name)?).ok())
    }

    /// The SDK refuses every call of a service for which both an endpoint and a kind of endpoint are set, which looks as
    /// if the network were down.
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
                "{kind} and {endpoint} are both set, of which the AWS SDK takes one only; set {kind} alone, or name an \
                 endpoint of that kind for each service"
            ))),
            _ => Ok(()),
        }
    }

    /// Environment variables that look like ours and are not read by anything, such as
    /// `TAGWARDEN_QUEUE_URL` for `TAGWARDEN__QUEUE__URL`. Not an error, because orchestrators set variables
    /// named after services; worth a warning.
    pub fn unread_variables(&self) -> impl Iterator<Item = &str> {
        self.environment.keys().map(String::as_str).filter(|name| {
            // Names in lower case are read by nobody either.
            name.to_uppercase().starts_with("TAGWARDEN_")
                && !name.starts_with(KEY_PREFIX)
                && *name != FILE_VARIABLE
                && *name != TEXT_VARIABLE
        })
    }
}

/// What deleting a tag is asked of the registry by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntagBy {
    /// Tag and digest together: ECR compares and deletes in one step.
    TagAndDigest,
    /// The tag alone, after reading once more that it points to the digest. For registries that do not
    /// honour the former, such as emulators: between the read and the delete a tag can move.
    Tag,
}

/// The form of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeFormat {
    /// For people, by e-mail.
    Text,
    /// For programs: the versioned document.
    Json,
    /// For Amazon Q Developer in chat applications: its custom notification.
    Chat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Pretty,
}

/// `queue.*`
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The queue's URL.
    pub url: String,
    /// How many messages are worked on at once.
    pub max_in_flight: usize,
    /// How long a received message stays invisible unless its lease is extended.
    pub visibility_timeout: Duration,
}

impl QueueSettings {
    /// The account and the Region that the URL names: those of any queue at AWS itself. Where its host names no Region,
    /// it is `elsewhere`.
    #[must_use]
    pub fn home(&self, elsewhere: Option<&Region>) -> Option<Home> {
        check::home_of(&self.url, elsewhere)
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.url.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned)
    }
}

/// One topic and the notices that it gets.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// The topic's ARN.
    pub arn: String,
    /// The topic's Region, from its ARN.
    pub region: Region,
    /// The form of its notices.
    pub format: NoticeFormat,
    /// Repositories whose notices it gets; none given means all.
    pub repositories: Globs,
    /// Actions whose notices it gets.
    pub actions: BTreeSet<NoticeAction>,
}

/// `notify.*`
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// The topics, at least one.
    pub topics: Vec<TopicSettings>,
}

/// `limits.*`: how much all tasks together may untag. `None`: as much as it comes to.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Tags in an hour.
    pub untags_per_hour: Option<usize>,
    /// Tags in an hour in one repository.
    pub untags_per_hour_per_repository: Option<usize>,
    /// How many tasks share the limits.
    pub tasks: NonZeroUsize,
}

impl LimitSettings {
    /// What each task may do of such a limit.
    #[must_use]
    pub fn share(&self, limit: usize) -> usize {
        limit / self.tasks
    }
}

impl Default for LimitSettings {
    /// No limits.
    fn default() -> Self {
        Self {
            untags_per_hour: None,
            untags_per_hour_per_repository: None,
            tasks: NonZeroUsize::MIN,
        }
    }
}

/// `sweep.*`
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// How old basic scanning's last look at an image is when a sweep asks for another; `None`: it never does.
    pub rescan_after: Option<Duration>,
    /// Calls of one API that this task's sweeps make in a second, in one account and Region.
    pub calls_per_second: u32,
}

/// `aws.*`
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// ARN of the role to assume in another account, with `{account}` in the account's place.
    pub assume_role: Option<String>,
    /// The external id to give when the role is assumed.
    pub external_id: Option<String>,
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The queue.
    pub queue: QueueSettings,
    /// Where and how the team is told.
    pub notify: NotifySettings,
    /// What may stay and what goes.
    pub policy: Policy,
    /// How much may be untagged.
    pub limits: LimitSettings,
    /// How sweeps go about it.
    pub sweep: SweepSettings,
    /// How tags are deleted.
    pub untag_by: UntagBy,
    /// Roles in other accounts.
    pub aws: AwsSettings,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// How long the process may take from SIGTERM to its end.
    pub grace: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
}

/// What it takes to judge an image, checked.
#[derive(Clone, Debug)]
pub struct JudgingSettings {
    /// What may stay and what goes.
    pub policy: Policy,
    /// Roles in other accounts.
    pub aws: AwsSettings,
    /// The worker's own account and Region, where the queue's URL is given and names them.
    pub own: Option<Home>,
    /// The topics, as far as they are given.
    pub topics: Vec<TopicSettings>,
    /// How sweeps go about it.
    pub sweep: SweepSettings,
}

impl JudgingSettings {
    /// Reads every source and checks what judging needs.
    ///
    /// # Errors
    /// The first thing that is wrong, by key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let region = sources.region();
        raw::RawSettings::read(sources)
            .and_then(|raw| raw.check_judging(region.as_ref()))
            .map_err(ConfigError::in_one_line)
    }
}

impl Settings {
    /// Reads every source and checks the result.
    ///
    /// # Errors
    /// The first thing that is wrong, by key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        raw::RawSettings::read(sources)
            .and_then(raw::RawSettings::check)
            .and_then(|settings| sources.one_kind_of_endpoint().map(|()| settings))
            .map_err(ConfigError::in_one_line)
    }
}

#[cfg(test)]
mod tests;
