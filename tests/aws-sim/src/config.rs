//! What a simulation starts from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whose rules `BatchDeleteImage` keeps for an identifier with both a tag and a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteRules {
    /// Compare and delete: only that tag goes, and only while it points to that digest.
    #[default]
    Aws,
    /// moto's fault: a match takes the whole image with all its tags and is answered with all of them,
    /// a mismatch is `ImageNotFound`, and children of an index are not protected.
    WholeImage,
}

/// What is kept of what happens, for a test to look at afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// Every call with its request and its reply, and every event.
    #[default]
    Calls,
    /// How many calls of each operation came, and nothing else: for load tests, whose memory must not grow with the
    /// number of calls. [`Sim::calls`](crate::Sim::calls), [`Sim::calls_of`](crate::Sim::calls_of),
    /// [`Sim::wait_for_calls`](crate::Sim::wait_for_calls), [`Sim::watch`](crate::Sim::watch) and
    /// [`Sim::events`](crate::Sim::events) have nothing to go by then, and panic.
    Counts,
}

/// The settings of a simulation. The same settings and the same calls give the same bytes.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The account that requests act as unless their credentials come from `AssumeRole`.
    pub account: String,
    /// The region of the set-up helpers, and of requests without a credential scope.
    pub region: String,
    /// The seed of every identifier, and of the order of messages where that is random.
    pub seed: u64,
    /// What the virtual clock shows at the start.
    pub epoch: SystemTime,
    /// What `BatchDeleteImage` does with a tag and a digest.
    pub delete_rules: DeleteRules,
    /// How long a call through the in-process face takes: enough that a polling loop moves virtual time.
    pub latency: Duration,
    /// How long a scan takes; meanwhile its status is `IN_PROGRESS`.
    pub scan_time: Duration,
    /// The most findings in one answer of `DescribeImageScanFindings`, however many are asked for. That ECR gives fewer
    /// when it likes is a guess: it names the most that it gives.
    pub findings_page: usize,
    /// Whether a receive hands out visible messages in a random order, by the seed, instead of the order of arrival.
    pub reorder: bool,
    /// What is kept of the calls and events.
    pub record: Record,
}

impl Default for SimConfig {
    /// Account 111122223333 in eu-west-1, seed 0, 2026-01-02T03:04:05Z, AWS's rules, 1 ms a call, instant scans,
    /// as many findings a page as are asked for, messages in order, every call recorded.
    fn default() -> Self {
        Self {
            account: "111122223333".to_owned(),
            region: "eu-west-1".to_owned(),
            seed: 0,
            epoch: UNIX_EPOCH + Duration::from_secs(1_767_323_045),
            delete_rules: DeleteRules::Aws,
            latency: Duration::from_millis(1),
            scan_time: Duration::ZERO,
            findings_page: usize::MAX,
            reorder: false,
            record: Record::Calls,
        }
    }
}
