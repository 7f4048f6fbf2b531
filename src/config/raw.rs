//! Settings as files and variables write them. The comments on keys are the descriptions of the JSON Schema.

use std::collections::BTreeMap;

use config::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use super::schema;

/// What tagwarden does, and where. Every key can be left out of the file and given by an environment variable, those in
/// arrays of tables excepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(title = "tagwarden configuration")]
pub(super) struct RawSettings {
    pub(super) queue: RawQueue,
    pub(super) notify: RawNotify,
    pub(super) policy: RawPolicy,
    pub(super) limits: RawLimits,
    pub(super) sweep: RawSweep,
    pub(super) registry: RawRegistry,
    pub(super) aws: RawAws,
    pub(super) http: RawHttp,
    pub(super) shutdown: RawShutdown,
    pub(super) telemetry: RawTelemetry,
}

/// How a sweep looks at the images that are there, whatever events came
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawSweep {
    /// Ask basic scanning for another scan of an image whose last one is older than this, 24h at least, or never
    pub(super) rescan_after: Option<String>,
    /// Calls of one API that a task's sweeps make in a second, in one account and Region, 1 to 1000
    #[schemars(schema_with = "schema::calls_per_second")]
    pub(super) calls_per_second: Option<Value>,
}

/// The queue that scan events come from
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawQueue {
    /// The queue's URL (required)
    pub(super) url: Option<String>,
    /// Messages worked on at once, 1 to 1024
    #[schemars(schema_with = "schema::in_flight")]
    pub(super) max_in_flight: Option<Value>,
    /// How long a received message stays invisible unless its lease is extended, 2 s to 12 h
    pub(super) visibility_timeout: Option<String>,
}

/// Where and how the team is told
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawNotify {
    /// The topic's ARN (required, or one of `topics`)
    pub(super) topic_arn: Option<String>,
    /// The form of notices: text for people and e-mail, json for programs, chat for Amazon Q Developer in chat
    /// applications
    #[schemars(extend("enum" = FORMATS))]
    pub(super) format: Option<String>,
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
    /// The form of its notices; without it as `notify.format`
    #[schemars(extend("enum" = FORMATS))]
    pub(super) format: Option<String>,
    /// Globs of repositories whose notices it gets; without it all
    pub(super) repositories: List,
    /// Actions whose notices it gets; without it all
    #[schemars(extend("items" = {"type": "string", "enum": ACTIONS}))]
    pub(super) actions: List,
}

pub(super) const FORMATS: [&str; 3] = ["text", "json", "chat"];
const ACTIONS: [&str; 6] =
    ["quarantined", "deleted", "would_untag", "blocked", "unscanned", "failed"];

/// Defines a section with the keys that the base policy and a rule share, so that a rule can override every one.
macro_rules! with_terms {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, expecting = "a table")]
        $(#[$meta])*
        pub(super) struct $name {
            $($own)*
            /// enforce: act; audit: tell what would be done and change nothing
            #[schemars(extend("enum" = ["enforce", "audit"]))]
            mode: Option<String>,
            /// quarantine: the tags go, the image stays under its quarantine tag; delete: the image goes too, after
            /// the team was told, unless a tag is kept
            #[schemars(extend("enum" = ["quarantine", "delete"]))]
            action: Option<String>,
            /// Findings that are allowed, by severity; "unlimited" lifts a limit
            #[schemars(schema_with = "schema::max_findings")]
            max_findings: BTreeMap<String, Value>,
            /// Globs of tags that stay, whatever is found
            protected_tags: Option<List>,
            /// An image index violates the policy when any of its images does, or only when all do
            #[schemars(extend("enum" = ["any", "all"]))]
            index: Option<String>,
            /// Untag only while this many other tagged images without a known violation remain in the repository, 0 to 49
            #[schemars(schema_with = "schema::keep_at_least")]
            keep_at_least: Option<Value>,
            /// An image that ECR reports in use: untag it like any other, or block (tell, and leave it alone)
            #[schemars(extend("enum" = ["untag", "block"]))]
            in_use: Option<String>,
            /// An image whose removals ECR repeats in other registries: block (tell, and leave it alone), or follow: its
            /// tags go once its quarantine tag has arrived there
            #[schemars(extend("enum" = ["block", "follow"]))]
            replicated: Option<String>,
            /// Severities of which findings without a fix do not count, or all, or none
            #[schemars(schema_with = "schema::fixable_only")]
            fixable_only: Option<List>,
            /// Findings with a CVSS score below this do not count, 0 to 10, or none
            #[schemars(schema_with = "schema::score")]
            min_score: Option<Value>,
            /// Only findings with a known exploit count
            #[schemars(with = "Option<bool>")]
            exploit_only: Option<Value>,
            /// A finding counts only after it has been known for this long, such as 7d, or none
            grace: Option<String>,
            /// An image that cannot be judged, because its scan failed or never came: tell the team, or ignore it
            #[schemars(extend("enum" = ["tell", "ignore"]))]
            unscanned: Option<String>,
        }

        impl $name {
            /// Takes the shared keys out.
            pub(super) fn take_terms(&mut self) -> RawTerms {
                RawTerms {
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
pub(super) struct RawTerms {
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

with_terms! {
    /// What may stay and what goes
    struct RawPolicy {
        pub(super) repositories: RawRepositories,
        /// Globs of repositories that a pull-through cache rule of the prefix ROOT fills; of every other prefix ECR itself says so
        pub(super) pull_through: List,
        /// Accounts whose images are covered; without it the worker's own
        #[schemars(extend("minItems" = 1))]
        pub(super) accounts: Option<List>,
        /// Regions whose images are covered; without it any
        #[schemars(extend("minItems" = 1))]
        pub(super) regions: Option<List>,
        /// Rules for some repositories; the first that matches overrides the keys that it gives
        pub(super) rules: Vec<RawRule>,
        /// Findings that were looked at and accepted for a time
        pub(super) exceptions: Vec<RawException>,
    }
}

with_terms! {
    /// Terms for some repositories. What a rule does not give is as in `policy`
    #[schemars(extend("required" = ["repositories"]))]
    struct RawRule {
        /// Its name in notices and logs; without it its place, such as `rules[0]`
        #[schemars(length(max = 128))]
        pub(super) name: Option<String>,
        /// Globs of the repositories that it is for (required). `*` also matches `/`
        #[schemars(extend("minItems" = 1))]
        pub(super) repositories: List,
        /// Globs of the tags that may go; without it all
        pub(super) tags: List,
    }
}

/// A finding, or an image, that was looked at and accepted for a time
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(extend("required" = ["reason", "owner", "expires"], "anyOf" = [{"required": ["id"]}, {"required": ["digest"]}]))]
pub(super) struct RawException {
    /// The finding's id or a glob, such as CVE-2021-44228; `id`, `digest` or both are required
    pub(super) id: Option<String>,
    /// The digest of the image, or of the index that holds it; `id`, `digest` or both are required
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub(super) digest: Option<String>,
    /// Glob of the package; without it any
    pub(super) package: Option<String>,
    /// Globs of repositories; without it all
    pub(super) repositories: List,
    /// Why it is accepted (required)
    #[schemars(length(min = 1, max = 500))]
    pub(super) reason: Option<String>,
    /// Who answers for it (required)
    #[schemars(length(min = 1, max = 500))]
    pub(super) owner: Option<String>,
    /// The day from whose start (UTC) it counts no more, such as 2026-12-31 (required)
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub(super) expires: Option<Value>,
}

/// Which repositories are covered
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawRepositories {
    /// Globs of repositories that are covered; without it all. `*` also matches `/`
    pub(super) include: List,
    /// Globs of repositories that are left alone
    pub(super) exclude: List,
}

/// How much may be untagged in an hour, by all tasks together
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawLimits {
    /// Tags that may be untagged in an hour, or unlimited
    #[schemars(schema_with = "schema::untags")]
    pub(super) untags_per_hour: Option<Value>,
    /// Tags that may be untagged in an hour in one repository, or unlimited
    #[schemars(schema_with = "schema::untags")]
    pub(super) untags_per_hour_per_repository: Option<Value>,
    /// How many tasks share these limits at the most, 1 to 1000: each takes an equal part of them, rounded down
    #[schemars(schema_with = "schema::tasks")]
    pub(super) tasks: Option<Value>,
}

/// How tags are deleted
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawRegistry {
    /// Compare and delete by tag and digest; or by tag: read again, then delete by tag, for registries that lack the
    /// former (emulators)
    #[schemars(extend("enum" = ["tag_and_digest", "tag"]))]
    pub(super) untag: Option<String>,
}

/// Access to other accounts
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawAws {
    /// Role in other accounts, such as arn:aws:iam::{account}:role/NAME
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

/// The end of the process
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawShutdown {
    /// From SIGTERM to the end, 2 s to 2 min; keep it below stopTimeout. Below 25 s, polls are shorter
    pub(super) grace: Option<String>,
}

/// What operators see
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawTelemetry {
    /// The form of log lines
    #[schemars(extend("enum" = ["json", "pretty"]))]
    pub(super) log_format: Option<String>,
}

/// A list: a sequence in a file, items with commas between them in a variable.
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
        Self(
            items
                .iter()
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
        )
    }
}
