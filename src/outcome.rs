//! The outcome of a message's event, and the disposition of the message.
//!
//! An assessment ends in an [`Outcome`], or in a [`Failure`] if the message has to come again.
//! [`disposition()`] is the one table that leads from there to the message. The words of logs and
//! metrics are derived from the same enums, so that no second list has to agree with them.

mod attempt;
mod disposition;
mod failure;

use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

pub(crate) use self::attempt::Attempt;
pub(crate) use self::disposition::{
    Disposition, disposition, wait_for_findings, waits_for_replicas,
};
pub(crate) use self::failure::{Failure, FailureKind};
use crate::domain::policy::OutOfScope;

/// The outcome of a message that needs no further delivery.
#[derive(Clone, Debug, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    name(OutcomeKind),
    doc = "The kinds of outcomes: their words in logs and metrics are their names.",
    derive(IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case")
)]
pub enum Outcome {
    /// A step of a sweep was taken, and the messages or the summary that follow from it were sent.
    Swept,
    /// A step of a sweep found no permit and was sent again, or an image of a sweep was left to the
    /// next sweep because of the limits.
    PutOff,
    /// This task took the same step of a sweep before.
    Repeated,
    /// Results of a sweep came after its summary, or were too few for one: they were notified by
    /// themselves.
    Late,
    /// The message is not for us: another source, another kind of scan, our own quarantine tag.
    Ignored(&'static str),
    /// The policy does not cover the repository.
    #[strum_discriminants(strum(serialize = "out_of_reach"))]
    OutOfScope(OutOfScope),
    /// Another message's assessment of the same image had this outcome, which counts for this
    /// message too.
    #[strum_discriminants(strum(serialize = "joined"))]
    Shared(Box<Outcome>),
    /// The manifest is no container image.
    NotAnImage,
    /// The scan has not ended, and an event will come when it has.
    LeftToScan,
    /// No limit is exceeded.
    Clean,
    /// The tags were removed, the image is kept, and the team was notified.
    Quarantined,
    /// The tags and the image were removed, and the team was notified.
    Deleted,
    /// The image violates the policy, and its tags stay because somebody holds it until a time.
    Held,
    /// Audit mode: the team was notified of what would be done.
    WouldUntag,
    /// The image bears our mark and no tag is left to remove.
    AlreadyQuarantined,
    /// The image has no tag, and violates the policy or cannot be judged.
    NothingToUntag,
    /// The image, tag or repository does not exist.
    Absent,
    /// Every tag has moved to another image.
    Superseded,
    /// The image violates the policy but cannot be acted on, or it is an index that is not known as
    /// a whole. The team was notified.
    Blocked,
    /// The image cannot be judged. The team was notified if the policy says so.
    Unscanned,
    /// A request to give tags back or to hold the image was carried out, now or before.
    Restored,
    /// A request to end the hold of the image was carried out, now or before.
    Withdrawn,
    /// A request to give tags back, or about a hold, was refused.
    RestoreRefused,
    /// The registry removed more than was asked for. It was put back as far as possible, and the
    /// team was notified.
    Overreach,
}

impl Outcome {
    /// Returns the word of logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        OutcomeKind::from(self).as_str()
    }

    /// Returns the reason that explains the outcome beyond its word.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Self::Ignored(why) => Some(why),
            Self::OutOfScope(why) => Some(why.as_str()),
            Self::Shared(outcome) => Some(outcome.as_str()),
            _ => None,
        }
    }

    /// Returns this outcome as that of another message's assessment.
    #[must_use]
    pub fn shared(self) -> Self {
        match self {
            Self::Shared(_) => self,
            own => Self::Shared(Box::new(own)),
        }
    }

    /// Returns whether the image does not exist any more.
    #[must_use]
    pub fn leaves_no_image(&self) -> bool {
        match self {
            Self::Deleted | Self::Absent => true,
            // An image that was absent for another message may have been pushed since.
            Self::Shared(outcome) => **outcome == Self::Deleted,
            _ => false,
        }
    }

    /// Returns how much was done. Of several images, the outcome with the highest gravity counts.
    fn gravity(&self) -> u8 {
        match self {
            Self::Absent
            | Self::Swept
            | Self::PutOff
            | Self::Repeated
            | Self::Late
            | Self::Ignored(_)
            | Self::OutOfScope(_)
            // No assessment ends so.
            | Self::Restored
            | Self::Withdrawn
            | Self::RestoreRefused => 0,
            Self::NotAnImage | Self::Clean => 1,
            Self::LeftToScan => 2,
            Self::NothingToUntag => 3,
            Self::Superseded => 4,
            Self::Shared(_) => 5,
            Self::AlreadyQuarantined => 6,
            Self::Held | Self::Unscanned => 7,
            Self::Blocked => 8,
            Self::WouldUntag | Self::Quarantined => 9,
            Self::Deleted => 10,
            Self::Overreach => 11,
        }
    }
}

impl OutcomeKind {
    /// Returns the word of logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Returns the graver of the results of two images. A failure is graver than any outcome, and the
/// failure that is retried sooner comes first. Else the outcome counts that did more.
///
/// # Errors
/// The failure, if there is one.
pub(crate) fn graver(
    one: Result<Outcome, Failure>,
    other: Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    match (one, other) {
        (Err(later), Err(sooner)) if later.is_only_put_off() => Err(sooner),
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        (Ok(one), Ok(other)) if one.gravity() >= other.gravity() => Ok(one),
        (Ok(_), Ok(other)) => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_metrics() {
        let words: Vec<_> = OutcomeKind::VARIANTS.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(
            words,
            [
                "swept",
                "put_off",
                "repeated",
                "late",
                "ignored",
                "out_of_reach",
                "joined",
                "not_an_image",
                "left_to_scan",
                "clean",
                "quarantined",
                "deleted",
                "held",
                "would_untag",
                "already_quarantined",
                "nothing_to_untag",
                "absent",
                "superseded",
                "blocked",
                "unscanned",
                "restored",
                "withdrawn",
                "restore_refused",
                "overreach",
            ]
        );
    }

    #[test]
    fn shared_outcome_keeps_what_it_shares() {
        let shared = Outcome::Deleted.shared();
        assert_eq!((shared.as_str(), shared.why()), ("joined", Some("deleted")));
        assert!(shared.leaves_no_image());
        assert!(!Outcome::Absent.shared().leaves_no_image());
        assert_eq!(shared.clone().shared(), shared);
    }
}
