//! The origin of an event.

use std::time::SystemTime;

/// What an event says about itself. Notices show it; tagwarden never acts on it (invariant 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The event's id, if it has one.
    pub id: Option<String>,
    /// The event's source, such as `aws.ecr`.
    pub source: String,
    /// The event's detail-type, such as `ECR Image Scan`.
    pub detail_type: String,
    /// The time of the event, as the event writes it.
    pub time: Option<String>,
    /// The parsed [`time`](Self::time); `None` if it is not an RFC 3339 time.
    pub at: Option<SystemTime>,
}
