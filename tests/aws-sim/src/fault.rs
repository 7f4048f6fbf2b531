//! Faults: what goes wrong with a call, and the plans that decide which call it goes wrong with.

mod random;
mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::api::{ApiCall, ApiError};
use crate::codes::status_of;
use crate::sim::Sim;

pub use random::RandomFaults;
pub use rule::FaultRule;

/// Changes a reply before it is sent.
pub type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;
/// Something that somebody else does at this moment.
pub type Action = Arc<dyn Fn(&Sim) + Send + Sync>;
/// Picks calls by what they ask for.
pub type Predicate = Arc<dyn Fn(&ApiCall) -> bool + Send + Sync>;
/// Picks entries of a batch.
pub type EntryPredicate = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// One thing that goes wrong with one call.
#[derive(Clone)]
pub enum Fault {
    /// The call is refused with this error and has no effect.
    ErrorBefore(ApiError),
    /// The call has its effect, and is answered with this error.
    ErrorAfter(ApiError),
    /// The call arrives late, and has its effect then even if its caller has given it up.
    Delay(Duration),
    /// The call has its effect at once, and its answer is late.
    DelayReply(Duration),
    /// The call has no effect and is never answered.
    Hang,
    /// The call has its effect and is never answered.
    HangAfter,
    /// The connection is reset before the call has an effect.
    ConnectionReset,
    /// The connection is reset after the call had its effect.
    ConnectionResetAfter,
    /// Entries of a batch (of SQS, or the image ids of `BatchDeleteImage`) fail with this code, without effect.
    FailEntries {
        /// The code of the failed entries.
        code: String,
        /// Which entries fail.
        entries: EntryPredicate,
    },
    /// The call has its effect, and its reply is changed.
    Replace(Edit),
    /// The messages of a `ReceiveMessage` become visible to others again after this time, whatever their visibility
    /// timeouts, and even if those are extended meanwhile: SQS delivers twice.
    Redeliver(Duration),
    /// Somebody acts just before the call.
    Act(Action),
}

/// A few words for the record of calls: the kind, and the code or the time.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorBefore(error) => write!(f, "error {}", error.code),
            Self::ErrorAfter(error) => write!(f, "error after {}", error.code),
            Self::Delay(time) => write!(f, "delay {time:?}"),
            Self::DelayReply(time) => write!(f, "delay reply {time:?}"),
            Self::Hang => f.write_str("hang"),
            Self::HangAfter => f.write_str("hang after"),
            Self::ConnectionReset => f.write_str("reset"),
            Self::ConnectionResetAfter => f.write_str("reset after"),
            Self::FailEntries { code, .. } => write!(f, "fail entries {code}"),
            Self::Replace(_) => f.write_str("replace"),
            Self::Redeliver(time) => write!(f, "redeliver {time:?}"),
            Self::Act(_) => f.write_str("act"),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

impl Fault {
    /// Refusal with an error code, under the HTTP status that the services have for it; 400 for one that is not known.
    /// [`Service`](crate::Service) knows each service's own codes. What follows `KmsException` after a space is what KMS
    /// said.
    pub fn error(code: &str) -> Self {
        let (code, kms_error) = match code.split_once(' ') {
            Some((code, kms_error)) => (code, Some(kms_error.to_owned())),
            None => (code, None),
        };
        let error = ApiError::new(code, "injected by the simulation").with_status(status_of(code));
        Self::ErrorBefore(ApiError { kms_error, ..error })
    }

    /// Whether a call that this strikes has no effect.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::ErrorBefore(_) | Self::ConnectionReset | Self::Hang)
    }
}

/// Decides what goes wrong. Asked once for each call, in order of arrival; it may look at the simulation meanwhile.
pub trait FaultPlan: Send {
    /// The faults of a call, in the order in which they strike; none for a call that goes well.
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault>;
}

/// Nothing goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl FaultPlan for NoFaults {
    fn faults(&mut self, _: &ApiCall) -> Vec<Fault> {
        Vec::new()
    }
}
