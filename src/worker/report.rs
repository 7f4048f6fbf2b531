//! The one log line of each assessment.

use std::time::Duration;

use tracing::{error, info, warn};

use super::disposition::Disposition;
use super::outcome::{Failure, Outcome};
use crate::domain::image::Digest;
use crate::event::{Malformed, Parsed};
use crate::queue::Message;

/// What is known of a message when it has been settled.
pub(super) struct Assessed<'a> {
    pub(super) message: &'a Message,
    /// Whether the queue's redrive policy permits no further receive.
    pub(super) last_receive: bool,
    pub(super) parsed: &'a Result<Parsed, Malformed>,
    /// The images that the event turned out to be about.
    pub(super) digests: &'a [Digest],
    pub(super) result: &'a Result<Outcome, Failure>,
    pub(super) disposition: Disposition,
    pub(super) took: Duration,
}

/// Writes the line: information where the message is done with, a warning where it comes again, an error where it will
/// not come again or we are at fault.
pub(super) fn assessed(of: &Assessed<'_>) {
    let (kind, origin, repository) = match of.parsed {
        Ok(Parsed::Assess(event)) => {
            (Some(event.kind), Some(&event.origin), Some(&event.repository))
        }
        Ok(Parsed::Ignored { kind, origin, .. }) => (Some(*kind), Some(origin.as_ref()), None),
        Err(_) => (None, None, None),
    };
    let digests: Vec<_> = of.digests.iter().map(Digest::as_str).collect();
    let (outcome, why) = match of.result {
        Ok(outcome) => (outcome.as_str(), outcome.why().map(str::to_owned)),
        Err(failure) => (failure.as_str(), Some(failure.to_string())),
    };
    let dead = of.last_receive && of.result.is_err();
    macro_rules! line {
        ($emit:ident) => {
            $emit!(
                message_id = of.message.id,
                event_id = origin.and_then(|origin| origin.id.as_deref()),
                event_kind = kind.map(|kind| kind.as_str()),
                source = origin.map(|origin| origin.source.as_str()),
                detail_type = origin.map(|origin| origin.detail_type.as_str()),
                account = repository.map(|repository| repository.account.as_str()),
                region = repository.map(|repository| repository.region.as_str()),
                repository = repository.map(|repository| repository.name.as_str()),
                digest = (!digests.is_empty()).then(|| digests.join(",")),
                outcome,
                why,
                disposition = of.disposition.as_str(),
                again_in_seconds = of.disposition.wait().map(|wait| wait.as_secs()),
                // Said here because SQS moves the message in silence, and nobody else knows why.
                goes_to = dead.then_some("the dead-letter queue"),
                receive_count = of.message.receive_count,
                body_bytes = of.message.body.len(),
                milliseconds = u64::try_from(of.took.as_millis()).unwrap_or(u64::MAX),
                "assessed"
            )
        };
    }
    match (of.result, of.disposition) {
        _ if dead => line!(error),
        (Err(Failure::Panicked), _) => line!(error),
        (Ok(_), _) | (_, Disposition::Release) => line!(info),
        (Err(_), _) => line!(warn),
    }
}
