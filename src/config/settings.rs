//! The settings, after all checks. Each part of the program owns the type of its own settings; here
//! they are put together.

use std::net::SocketAddr;
use std::time::Duration;

use crate::aws::AwsSettings;
use crate::domain::names::RegistryId;
use crate::domain::policy::{Mode, Policy};
use crate::enforce::LimitSettings;
use crate::notify::NotifySettings;
use crate::queue::QueueSettings;
use crate::registry::{Records, UntagBy};
use crate::restore::RestoreSettings;
use crate::sweep::SweepSettings;
use crate::telemetry::logs::LogFormat;

/// The whole configuration, after all checks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a changed configuration file is used without a restart.
    pub watch: bool,
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
    /// Whether what is removed is recorded on the image.
    pub records: Records,
    /// Who may have images restored and held.
    pub restore: RestoreSettings,
    /// The role in other accounts.
    pub aws: AwsSettings,
    /// The address that serves health and metrics.
    pub listen: SocketAddr,
    /// The longest time from SIGTERM to the end of the process.
    pub grace: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
}

/// The whole configuration after all checks, for commands that need no queue, topics or mode.
#[derive(Clone, Debug)]
pub struct JudgingSettings {
    /// Whether a worker uses a changed configuration file without a restart.
    pub watch: bool,
    /// The queue, if its URL is given.
    pub queue: Option<QueueSettings>,
    /// The topics that notices are published to. The list is empty if none is given.
    pub notify: NotifySettings,
    /// The policy: which images may keep their tags. If no mode is given, it is that of
    /// [`RuleSettings::default`](crate::domain::policy::RuleSettings), which says what would be
    /// done.
    pub policy: Policy,
    /// The mode of the base policy, if one is given.
    pub mode: Option<Mode>,
    /// The limits on removals.
    pub limits: LimitSettings,
    /// The settings of sweeps.
    pub sweep: SweepSettings,
    /// How tags are deleted.
    pub untag_by: UntagBy,
    /// Whether what is removed is recorded on the image.
    pub records: Records,
    /// Who may have images restored and held.
    pub restore: RestoreSettings,
    /// The role in other accounts.
    pub aws: AwsSettings,
    /// The worker's own account and Region, if the queue's URL is given and names them.
    pub own: Option<RegistryId>,
    /// The address that serves health and metrics.
    pub listen: SocketAddr,
    /// The longest time from SIGTERM to the end of the process.
    pub grace: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
}
