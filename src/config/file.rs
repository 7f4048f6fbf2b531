//! Settings as files and variables write them, before any check. The doc comments of the keys are
//! the descriptions in the JSON Schema, so they address the people who write the file.

use std::collections::BTreeMap;

use config::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::MAX_SENDERS;
use super::schema_keys as schema;
use super::schema_keys::principal_id;

/// The settings of tagwarden. An environment variable can set every key, except those in arrays of
/// tables
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(title = "tagwarden configuration")]
pub(super) struct RawSettings {
    /// Use a changed configuration file without a restart; in TOML and YAML it ends with `# end`
    #[schemars(with = "Option<bool>")]
    pub(super) watch: Option<Value>,
    pub(super) queue: RawQueue,
    pub(super) notify: RawNotify,
    pub(super) policy: RawPolicy,
    pub(super) limits: RawLimits,
    pub(super) sweep: RawSweep,
    pub(super) registry: RawRegistry,
    pub(super) restore: RawRestore,
    pub(super) aws: RawAws,
    pub(super) http: RawHttp,
    pub(super) shutdown: RawShutdown,
    pub(super) telemetry: RawTelemetry,
}

/// How sweeps inspect all images that exist, independent of events
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawSweep {
    /// Ask basic scanning for another scan of an image if its last scan is older than this (at
    /// least 24h), or never
    pub(super) rescan_after: Option<String>,
    /// Calls of one API per second that the sweeps of one task make in one account and Region, 1 to
    /// 1000
    #[schemars(schema_with = "schema::calls_per_second")]
    pub(super) calls_per_second: Option<Value>,
}

/// The queue that receives scan events
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawQueue {
    /// The queue's URL (required)
    pub(super) url: Option<String>,
    /// Messages worked on at once, 1 to 1024
    #[schemars(schema_with = "schema::in_flight")]
    pub(super) max_in_flight: Option<Value>,
    /// Time that a received message stays invisible unless its lease is extended, 2 s to 12 h
    pub(super) visibility_timeout: Option<String>,
}

/// The topics that notices are published to
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawNotify {
    /// The topic's ARN (required, unless `topics` names one)
    pub(super) topic_arn: Option<String>,
    /// The form of notices: text for people and e-mail, json for programs, chat for Amazon Q
    /// Developer in chat applications
    #[schemars(extend("enum" = FORMATS))]
    pub(super) format: Option<String>,
    /// Whom readers of a notice can ask, such as a channel or an address: one line, at most 500
    /// characters
    #[schemars(extend("maxLength" = 500))]
    pub(super) contact: Option<String>,
    /// More topics, each for some of the notices
    pub(super) topics: Vec<RawTopic>,
}

/// A topic for some of the notices
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(extend("required" = ["arn"]))]
pub(super) struct RawTopic {
    /// The topic's ARN (required)
    pub(super) arn: Option<String>,
    /// The form of its notices; default: as `notify.format`
    #[schemars(extend("enum" = FORMATS))]
    pub(super) format: Option<String>,
    /// Globs of repositories whose notices it receives; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) repositories: Option<List>,
    /// Accounts whose notices it receives; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) accounts: Option<List>,
    /// Regions whose notices it receives; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) regions: Option<List>,
    /// Severities whose notices it receives, which are those about images with such a finding that
    /// counts, and those about no violation; default: all
    #[schemars(schema_with = "schema::severities")]
    pub(super) severities: Option<List>,
    /// Actions whose notices it receives; default: all
    #[schemars(extend("items" = {"type": "string", "enum": ACTIONS}))]
    pub(super) actions: List,
}

pub(super) const FORMATS: [&str; 3] = ["text", "json", "chat"];
const ACTIONS: [&str; 8] = [
    "quarantined",
    "deleted",
    "would_untag",
    "blocked",
    "unscanned",
    "failed",
    "restored",
    "refused",
];

/// Defines a section with the keys that the base policy and a rule share, so that a rule can
/// override every key of the base policy.
///
/// A macro writes the fields into both structs. `#[serde(flatten)]` would be shorter, but serde
/// does not support it together with `deny_unknown_fields`.
macro_rules! with_rule_settings {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, expecting = "a table")]
        $(#[$meta])*
        pub(super) struct $name {
            $($own)*
            /// enforce: remove tags; audit: notify what would be done and change nothing. The base
            /// policy's is required, and has no default
            #[schemars(extend("enum" = ["enforce", "audit"]))]
            mode: Option<String>,
            /// quarantine: remove the tags and keep the image under its quarantine tag; delete:
            /// after the notice, also delete the image unless a tag is kept
            #[schemars(extend("enum" = ["quarantine", "delete"]))]
            action: Option<String>,
            /// Number of findings that are allowed, by severity; "unlimited" lifts a limit
            #[schemars(schema_with = "schema::max_findings")]
            max_findings: BTreeMap<String, Value>,
            /// Globs of tags that are never removed
            protected_tags: Option<List>,
            /// An image index violates the policy if any of its images does, or only if all do
            #[schemars(extend("enum" = ["any", "all"]))]
            index: Option<String>,
            /// Remove tags only while this many other tagged images without a known violation
            /// remain in the repository, 0 to 49
            #[schemars(schema_with = "schema::keep_at_least")]
            keep_at_least: Option<Value>,
            /// For an image that ECR reports as in use, untag: remove its tags like any other's;
            /// block: notify, and leave it alone
            #[schemars(extend("enum" = ["untag", "block"]))]
            in_use: Option<String>,
            /// For an image in a registry that repeats removals in other registries, block: notify,
            /// and leave it alone; follow: remove its tags once its quarantine tag has arrived
            /// there
            #[schemars(extend("enum" = ["block", "follow"]))]
            replicated: Option<String>,
            /// Severities whose findings do not count unless there is a fix; or all, or none
            #[schemars(schema_with = "schema::fixable_only")]
            fixable_only: Option<List>,
            /// Findings with a CVSS score below this do not count, 0 to 10, or none
            #[schemars(schema_with = "schema::score")]
            min_score: Option<Value>,
            /// Only findings with a known exploit count
            #[schemars(with = "Option<bool>")]
            exploit_only: Option<Value>,
            /// Time for which a finding must have been known before it counts, such as 7d, or none
            grace: Option<String>,
            /// For an image that cannot be judged because its scan failed or never ran, tell:
            /// notify; ignore: do nothing
            #[schemars(extend("enum" = ["tell", "ignore"]))]
            unscanned: Option<String>,
        }

        impl $name {
            /// Moves the shared keys out.
            pub(super) fn take_rule_settings(&mut self) -> RawRuleSettings {
                RawRuleSettings {
                    mode: self.mode.take(),
                    action: self.action.take(),
                    max_findings: std::mem::take(&mut self.max_findings),
                    protected_tags: self.protected_tags.take(),
                    index: self.index.take(),
                    keep_at_least: self.keep_at_least.take(),
                    in_use: self.in_use.take(),
                    replicated: self.replicated.take(),
                    fixable_only: self.fixable_only.take(),
                    min_score: self.min_score.take(),
                    exploit_only: self.exploit_only.take(),
                    grace: self.grace.take(),
                    unscanned: self.unscanned.take(),
                }
            }
        }
    };
}

/// The keys that the base policy and a rule share.
#[derive(Debug, Default)]
pub(super) struct RawRuleSettings {
    pub(super) mode: Option<String>,
    pub(super) action: Option<String>,
    pub(super) max_findings: BTreeMap<String, Value>,
    pub(super) protected_tags: Option<List>,
    pub(super) index: Option<String>,
    pub(super) keep_at_least: Option<Value>,
    pub(super) in_use: Option<String>,
    pub(super) replicated: Option<String>,
    pub(super) fixable_only: Option<List>,
    pub(super) min_score: Option<Value>,
    pub(super) exploit_only: Option<Value>,
    pub(super) grace: Option<String>,
    pub(super) unscanned: Option<String>,
}

with_rule_settings! {
    /// The policy: which images may keep their tags
    struct RawPolicy {
        pub(super) repositories: RawRepositories,
        /// Globs of repositories that a pull-through cache rule with the prefix ROOT fills. ECR
        /// itself names those of every other prefix
        pub(super) pull_through: List,
        /// Accounts whose images are covered; default: the worker's own
        #[schemars(extend("minItems" = 1))]
        pub(super) accounts: Option<List>,
        /// Regions whose images are covered; default: all
        #[schemars(extend("minItems" = 1))]
        pub(super) regions: Option<List>,
        /// Rules for some repositories; the first that matches overrides the keys that it gives
        pub(super) rules: Vec<RawRule>,
        /// Findings that somebody has accepted for a time
        pub(super) exceptions: Vec<RawException>,
    }
}

with_rule_settings! {
    /// Settings for some repositories. A key that a rule does not give is as in `policy`
    #[schemars(extend("required" = ["repositories"]))]
    struct RawRule {
        /// Its name in notices and logs; default: its position, such as `rules[0]`
        #[schemars(length(max = 128))]
        pub(super) name: Option<String>,
        /// Globs of the repositories that it applies to (required). `*` also matches `/`
        #[schemars(extend("minItems" = 1))]
        pub(super) repositories: List,
        /// Accounts in which it applies; default: all
        #[schemars(extend("minItems" = 1))]
        pub(super) accounts: Option<List>,
        /// Regions in which it applies; default: all
        #[schemars(extend("minItems" = 1))]
        pub(super) regions: Option<List>,
        /// Globs of the tags that may be removed; default: all
        #[schemars(extend("minItems" = 1))]
        pub(super) tags: Option<List>,
    }
}

impl RawPolicy {
    /// Returns the mode, unless it is missing or empty.
    pub(super) fn mode(&self) -> Option<&str> {
        self.mode.as_deref().filter(|mode| !mode.is_empty())
    }

    /// Makes the mode missing.
    pub(super) fn forget_mode(&mut self) {
        self.mode = None;
    }
}

/// A finding, or an image, that somebody has accepted for a time
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(extend(
    "required" = ["reason", "owner", "expires"],
    "anyOf" = [{"required": ["id"]}, {"required": ["digest"]}]
))]
pub(super) struct RawException {
    /// The finding's id or a glob, such as CVE-2021-44228; `id`, `digest` or both are required
    pub(super) id: Option<String>,
    /// The digest of the image, or of the index that holds it; `id`, `digest` or both are required
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub(super) digest: Option<String>,
    /// Glob of the package; default: any
    pub(super) package: Option<String>,
    /// Globs of repositories; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) repositories: Option<List>,
    /// Accounts in which it applies; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) accounts: Option<List>,
    /// Regions in which it applies; default: all
    #[schemars(extend("minItems" = 1))]
    pub(super) regions: Option<List>,
    /// Reason why it is accepted (required)
    #[schemars(length(min = 1, max = 500))]
    pub(super) reason: Option<String>,
    /// The team or person responsible for it (required)
    #[schemars(length(min = 1, max = 500))]
    pub(super) owner: Option<String>,
    /// The first day (UTC) on which it no longer applies, such as 2026-12-31 (required)
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub(super) expires: Option<Value>,
}

/// The repositories that are covered
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawRepositories {
    /// Globs of repositories that are covered; default: all. `*` also matches `/`
    #[schemars(extend("minItems" = 1))]
    pub(super) include: Option<List>,
    /// Globs of repositories that are left alone
    pub(super) exclude: List,
    /// ARNs of the repositories that the worker's own images are pulled from, which are left alone
    #[schemars(extend("minItems" = 1))]
    pub(super) own_images: Option<List>,
}

/// Limits on the tags that all tasks together remove in an hour
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawLimits {
    /// Tags that may be removed in an hour, or unlimited
    #[schemars(schema_with = "schema::untags")]
    pub(super) untags_per_hour: Option<Value>,
    /// Tags that may be removed in an hour in one repository, or unlimited
    #[schemars(schema_with = "schema::untags")]
    pub(super) untags_per_hour_per_repository: Option<Value>,
    /// The largest number of tasks that share these limits, 1 to 1000; each task uses an equal
    /// part, rounded down
    #[schemars(schema_with = "schema::tasks")]
    pub(super) tasks: Option<Value>,
}

/// How tags are deleted, and what is kept of them
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawRegistry {
    /// tag_and_digest: compare and delete in one call; tag: read the tag again, then delete it by
    /// name, for registries that ignore the digest (emulators)
    #[schemars(extend("enum" = ["tag_and_digest", "tag"]))]
    pub(super) untag: Option<String>,
    /// required: write what is removed into a record on the image, before it is removed; off: write
    /// no records, for registries that cannot store them (emulators). Then nothing can be listed or
    /// restored
    #[schemars(extend("enum" = ["required", "off"]))]
    pub(super) records: Option<String>,
}

/// Who may have removed tags restored, and who may hold images
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawRestore {
    /// The secret keys that sign records, with blanks or commas between them: the first signs, all
    /// verify. Each is 32 random bytes in base64. Without a key nothing is restored; better set by
    /// its variable than in a file
    pub(super) key: Option<String>,
    /// Unique ids of the IAM roles and users who may ask the worker to restore an image, such as
    /// AROAEXAMPLEID12345678, at most 100; default: nobody
    #[schemars(extend("maxItems" = MAX_SENDERS, "items" = principal_id()))]
    pub(super) senders: List,
    /// Unique ids of the IAM roles and users who may also ask it to hold an image that violates the
    /// policy, at most 100; default: nobody
    #[schemars(extend("maxItems" = MAX_SENDERS, "items" = principal_id()))]
    pub(super) hold_senders: List,
    /// The longest time for which an image can be held, 1 h to 90 d
    pub(super) max_hold: Option<String>,
}

/// Access to other accounts
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawAws {
    /// ARN of the role in other accounts, such as arn:aws:iam::{account}:role/NAME
    pub(super) assume_role: Option<String>,
    /// External id for that role
    pub(super) external_id: Option<String>,
}

/// Health and metrics
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawHttp {
    /// Address of /healthz, /readyz and /metrics
    pub(super) listen: Option<String>,
}

/// How the process stops
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawShutdown {
    /// Time from SIGTERM to the end, 2 s to 2 min; keep it below stopTimeout. Below 25 s, polls are
    /// shorter
    pub(super) grace: Option<String>,
}

/// Logs
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawTelemetry {
    /// The form of log lines
    #[schemars(extend("enum" = ["json", "pretty"]))]
    pub(super) log_format: Option<String>,
}

/// A list. A file writes a sequence; a variable writes items with commas between them. Blank items
/// are left out. If all are blank, one is kept, so that the check of the list refuses it: a shell
/// makes it of variables that are not set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(from = "Listed")]
#[schemars(with = "Vec<String>", inline)]
pub(super) struct List(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "is not a list of strings; expected one such as [\"a\", \"b\"]")]
pub(super) enum Listed {
    Text(String),
    Items(Vec<String>),
}

impl From<Listed> for List {
    fn from(listed: Listed) -> Self {
        let items = match listed {
            Listed::Text(text) => text.split(',').map(str::to_owned).collect(),
            Listed::Items(items) => items,
        };
        let trimmed: Vec<_> = items.iter().map(|item| item.trim().to_owned()).collect();
        let mut named: Vec<_> = trimmed.iter().filter(|item| !item.is_empty()).cloned().collect();
        if named.is_empty() {
            named.extend(trimmed.into_iter().next());
        }
        Self(named)
    }
}
