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
mod index_inspection;
mod inspection;
mod inspector;
mod pace;
mod pull_through;
mod replication;
mod repository_index;
mod request;
mod safeguards;
mod shared_cache;

pub use self::ecr_calls::EcrCalls;
pub use self::evaluator::{Evaluator, claimed};
pub use self::findings_memory::Evictable;
pub use self::freshness::Started;
pub use self::index_inspection::{BasicScan, InspectedIndex, basic_scan};
pub use self::inspection::{Inspection, ScanSnapshot, Verdict, Violation, declare};
pub use self::inspector::Inspector;
pub use self::pace::CallPace;
pub use self::pull_through::PulledThrough;
pub use self::replication::{MarkArrival, Replicas};
pub use self::repository_index::{Holder, TaggedImages};
pub use self::request::{Freshness, Request, Urgency};
pub use self::safeguards::Safeguards;
