//! Reads one image or index at a time from ECR and judges it. Nothing in here changes an image.
//!
//! [`Inspector`] answers a [`Request`] with an [`Inspection`]. [`Safeguards`] adds the reasons for
//! leaving a violating image's tags in place. Every call to the registry goes through [`EcrCalls`],
//! which waits while access is refused.

mod circuit_breaker;
mod ecr_calls;
mod evaluator;
mod findings_memory;
mod freshness;
mod holds;
mod index_inspection;
mod inspection;
mod inspector;
mod pace;
mod pull_through;
mod record_store;
mod replication;
mod repository_index;
mod request;
mod safeguards;
mod shared_cache;

pub(crate) use self::ecr_calls::EcrCalls;
pub(crate) use self::evaluator::{Evaluator, is_cleared};
pub(crate) use self::findings_memory::Evictable;
pub(crate) use self::freshness::Started;
pub(crate) use self::holds::{HoldCheck, Holds, TOO_MANY};
pub(crate) use self::index_inspection::{BasicScan, basic_scan};
pub(crate) use self::inspection::{Inspection, ScanSnapshot, Verdict, Violation, declare};
pub(crate) use self::inspector::Inspector;
pub(crate) use self::pace::CallPace;
pub(crate) use self::pull_through::PulledThrough;
pub(crate) use self::record_store::{RecordSettings, RecordStore, Remembered};
pub(crate) use self::replication::{MarkArrival, Replicas};
pub(crate) use self::request::{Freshness, Request, Urgency};
pub(crate) use self::safeguards::Safeguards;
