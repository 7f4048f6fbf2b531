//! Decides what becomes of the hold that a request asks for.

use std::time::{Duration, SystemTime};

use super::refusal::Refusal;
use super::scene::Scene;
use crate::domain::record::Hold;
use crate::event::restore::RestoreAction;

/// What becomes of the hold that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedHold {
    /// The request asks for none.
    None,
    /// It has to be written.
    New(Hold),
    /// An earlier delivery of the request has written it.
    Written(Hold),
    /// A hold in force lasts at least as long and has the same owner and reason, so nothing is to
    /// be written.
    Granted(Hold),
}

impl WantedHold {
    /// Returns the hold that keeps the image because of this request.
    pub(super) fn hold(&self) -> Option<&Hold> {
        match self {
            Self::None => None,
            Self::New(hold) | Self::Written(hold) | Self::Granted(hold) => Some(hold),
        }
    }
}

/// Returns what becomes of the hold that is asked for, if it may be granted. A hold that an earlier
/// delivery has written is that hold, whatever the message says.
pub(super) fn wanted_hold(
    scene: &Scene<'_>,
    sent_at: SystemTime,
    now: SystemTime,
    most: Duration,
) -> Result<WantedHold, Refusal> {
    let asked = scene.asked;
    let RestoreAction::Hold { until, reason, owner, .. } = &asked.order.action else {
        return Ok(WantedHold::None);
    };
    if let Some(written) = scene.own_hold() {
        return match written.until > now {
            true => Ok(WantedHold::Written(written.clone())),
            false => Err(Refusal::HoldIsPast(written.until)),
        };
    }
    // The time of sending is the same at every delivery, and so are the bytes of the record, which
    // has no fractions of a second.
    let (issued, until) = (whole_seconds(sent_at), whole_seconds(*until));
    if until <= now || until <= issued {
        return Err(Refusal::HoldIsPast(until));
    }
    let latest = issued + most;
    if until > latest {
        return Err(Refusal::HoldIsTooLong { most, latest });
    }
    if let Some(like) = scene.history.hold_like(owner, reason, until, now, most) {
        return Ok(WantedHold::Granted(like.record.clone()));
    }
    Ok(WantedHold::New(Hold {
        until,
        issued,
        reason: reason.clone(),
        owner: owner.clone(),
        request: asked.id().to_owned(),
        sender: asked.sender(),
    }))
}

fn whole_seconds(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
