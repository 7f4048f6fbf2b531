//! Where an event came from.

use std::time::SystemTime;

/// What an event says of itself: told in notices, never acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The event's id, where it has one.
    pub id: Option<String>,
    /// Its source, such as `aws.ecr`.
    pub source: String,
    /// Its detail-type, such as `ECR Image Scan`.
    pub detail_type: String,
    /// When it happened, as the event writes it.
    pub time: Option<String>,
    /// The same, read; `None` where it is no RFC 3339 time.
    pub at: Option<SystemTime>,
}
