//! Writes the one log line of each message, after the message was settled.
//!
//! The line says why a message moves to the dead-letter queue, because SQS moves it without a word
//! (invariant 2).

use std::time::Duration;

use tracing::{Span, error, info, record_all, warn};

use crate::domain::names::Digest;
use crate::event::{Kind, Malformed, Parsed};
use crate::outcome::{Disposition, Failure, Outcome};
use crate::queue::Message;
use crate::telemetry::traces;

/// A message that has been settled.
pub(super) struct Completed<'a> {
    pub(super) message: &'a Message,
    /// The length of its body, which is no longer kept.
    pub(super) body_bytes: usize,
    /// Whether the queue's redrive policy permits no further receive.
    pub(super) last_receive: bool,
    pub(super) parsed: &'a Result<Parsed, Malformed>,
    /// The images that the event turned out to be about.
    pub(super) digests: &'a [Digest],
    pub(super) result: &'a Result<Outcome, Failure>,
    pub(super) disposition: Disposition,
    pub(super) took: Duration,
}

/// Records in the current span what the message is about. It is called as soon as that is known, so
/// that later log lines have it too.
pub(super) fn identify(parsed: &Result<Parsed, Malformed>) {
    let span = Span::current();
    let Ok(parsed) = parsed else { return };
    let image = parsed.image();
    let repository = image.map(|(repository, _)| repository);
    record_all!(
        span,
        event_id = parsed.origin().id.as_deref(),
        account = repository.map(|repository| repository.account.as_str()),
        region = repository.map(|repository| repository.region.as_str()),
        repository = repository.map(|repository| repository.name.as_str()),
        digest = image.and_then(|(_, digest)| digest).map(Digest::as_str),
    );
}

/// Writes the line: information if the message is deleted, a warning if it comes again, an error if
/// it moves to the dead-letter queue or we are at fault.
pub(super) fn write(of: &Completed<'_>) {
    let parsed = of.parsed.as_ref().ok();
    let (kind, origin) = (parsed.map(Parsed::kind), parsed.map(Parsed::origin));
    let digests: Vec<_> = of.digests.iter().map(Digest::as_str).collect();
    let (outcome, why) = match of.result {
        Ok(outcome) => (outcome.as_str(), outcome.why().map(str::to_owned)),
        Err(failure) => (failure.as_str(), Some(failure.to_string())),
    };
    let dead = of.last_receive && of.result.is_err();
    let span = Span::current();
    let disposition = of.disposition.as_str();
    record_all!(span, tagwarden.outcome = outcome, tagwarden.disposition = disposition,);
    let is_expected = of.result.as_ref().is_err_and(Failure::is_expected);
    if of.result.is_err() && !is_expected && of.disposition != Disposition::Release {
        traces::failed(&span, outcome, why.as_deref().unwrap_or_default());
    }
    macro_rules! line {
        ($emit:ident) => {
            $emit!(
                // Account, Region and repository come from the span.
                message_id = of.message.id,
                event_id = origin.and_then(|origin| origin.id.as_deref()),
                event_kind = kind.map(|kind| kind.as_str()),
                source = origin.map(|origin| origin.source.as_str()),
                detail_type = origin.map(|origin| origin.detail_type.as_str()),
                digest = (!digests.is_empty()).then(|| digests.join(",")),
                outcome,
                why,
                disposition,
                again_in_seconds = of.disposition.wait().map(|wait| wait.as_secs()),
                // SQS moves the message without a word, so only this line says why.
                goes_to = dead.then_some("the dead-letter queue"),
                receive_count = of.message.receive_count,
                body_bytes = of.body_bytes,
                duration_ms = u64::try_from(of.took.as_millis()).unwrap_or(u64::MAX),
                "assessed"
            )
        };
    }
    match (of.result, of.disposition) {
        _ if dead => line!(error),
        (Err(Failure::Panicked), _) => line!(error),
        (Ok(_), _) | (_, Disposition::Release) => line!(info),
        (Err(_), _) if is_expected => line!(info),
        (Err(Failure::Pending { .. }), _) if kind.is_some_and(Kind::waits_for_its_like) => {
            line!(info);
        }
        (Err(_), _) => line!(warn),
    }
}
