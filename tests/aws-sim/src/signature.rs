//! The time of a signature: AWS takes one that is at most five minutes off its own clock. Nothing else of it is checked.

use std::time::{Duration, SystemTime};

use crate::api::{ApiCall, ApiError, Protocol};
use crate::clock::{basic_seconds, from_basic_seconds};
use crate::wire::Request;

const TOLERANCE: Duration = Duration::from_secs(300);

/// Why a request is not taken at this moment, if its signature is too old or from the future.
pub(crate) fn refusal(request: &Request, call: &ApiCall, now: SystemTime) -> Option<ApiError> {
    let signed = from_basic_seconds(request.header("x-amz-date")?)?;
    let message = if signed + TOLERANCE < now {
        let limit = basic_seconds(now - TOLERANCE);
        let (signed, now) = (basic_seconds(signed), basic_seconds(now));
        format!("Signature expired: {signed} is now earlier than {limit} ({now} - 5 min.)")
    } else if signed > now + TOLERANCE {
        let limit = basic_seconds(now + TOLERANCE);
        let (signed, now) = (basic_seconds(signed), basic_seconds(now));
        format!("Signature not yet current: {signed} is still later than {limit} ({now} + 5 min.)")
    } else {
        return None;
    };
    Some(match call.protocol {
        Protocol::Query => ApiError::new("SignatureDoesNotMatch", message).with_status(403),
        Protocol::Json10 { .. } => {
            ApiError::new("InvalidSignatureException", message).with_status(403)
        }
        Protocol::Json11 => ApiError::new("InvalidSignatureException", message),
    })
}
