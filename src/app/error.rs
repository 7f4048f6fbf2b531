//! Why the worker ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinError;

use crate::aws::AwsError;
use crate::telemetry::instruments::MetricsError;

/// A reason why the worker ended, other than a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The environment names no Region.
    #[error(
        "no AWS Region: set AWS_REGION, which is missing or empty, or choose a profile with one"
    )]
    NoRegion,
    /// The address for health and metrics cannot be bound.
    #[error("cannot listen on {address} (http.listen): {error}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// The error of the system.
        error: std::io::Error,
    },
    /// AWS refuses for good a call that the worker needs.
    #[error("cannot use the {what}: {error}; {remedy}")]
    Refused {
        /// The queue or the topic.
        what: &'static str,
        /// The refusal.
        error: AwsError,
        /// The remedy, for the operator.
        remedy: &'static str,
    },
    /// Metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals cannot be listened to.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A task of the worker ended unexpectedly.
    #[error("a task of the worker ended unexpectedly: {0}")]
    Task(#[from] JoinError),
    /// Stopping took longer than the grace period.
    #[error(
        "some messages could not be settled within the grace period of {}",
        humantime::format_duration(*.0)
    )]
    GraceExceeded(Duration),
    /// A second signal came.
    #[error(
        "stopped at once by a second signal; messages in hand become visible when their timeout \
         passes"
    )]
    SecondSignal,
}
