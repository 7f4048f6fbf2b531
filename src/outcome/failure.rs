//! The reasons why processing a message fails.

use std::time::Duration;

use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

use crate::aws::{AwsError, ErrorClass};
use crate::backoff::Stopping;
use crate::event::Malformed;
use crate::notify::Undelivered;

/// The reason why processing failed. The message comes again.
#[derive(Clone, Debug, thiserror::Error, EnumDiscriminants)]
#[strum_discriminants(
    name(FailureKind),
    doc = "The kinds of failures: their words in logs and metrics are their names.",
    derive(IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case")
)]
pub enum Failure {
    /// The message is no event.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// AWS cannot carry out a call at the moment.
    #[error(transparent)]
    Transient(AwsError),
    /// AWS rejects our request.
    #[error(transparent)]
    Rejected(AwsError),
    /// AWS denies us access, in this account or repository.
    #[error(transparent)]
    Refused(AwsError),
    /// The registry refused single tags, or a person has not agreed to their removal.
    #[error("refused: {0}")]
    #[strum_discriminants(strum(serialize = "refused"))]
    TagsRefused(String),
    /// The scan's findings do not exist yet.
    #[error("waiting for findings: {reason}")]
    Pending {
        /// The state of the scan, in words.
        reason: String,
        /// The time until ECR is asked again.
        again: Duration,
    },
    /// The quarantine tag has not arrived yet in registries to which ECR replicates removals.
    #[error("waiting for the quarantine tag in {missing}")]
    Unreplicated {
        /// The registries that lack it.
        missing: String,
        /// The receive count of the message that found that.
        receives: u32,
    },
    /// Other messages of its repository take all slots and are slow.
    #[error("the repository is overloaded; it will be retried")]
    Crowded,
    /// Some tags could not be removed yet.
    #[error("not every tag could be removed: {0}")]
    Incomplete(String),
    /// The work was done, but the team could not be notified.
    #[error("the team could not be notified: {0}")]
    NotTold(#[source] AwsError),
    /// One topic refuses the notice, while others accept it.
    #[error("topic {topic} refuses: {error}")]
    TopicRefused {
        /// The topic's ARN.
        topic: String,
        /// Its answer.
        #[source]
        error: AwsError,
    },
    /// The limits of this hour permit no more removals.
    #[error("{reason}")]
    Limited {
        /// The limit that is reached.
        reason: String,
        /// The time until there is room again.
        again: Duration,
    },
    /// The image is held and its tags are back. Another task may have begun to remove them before
    /// it could see the hold, so the image is looked at once more.
    #[error("restored; the image is looked at once more")]
    SecondLook {
        /// The time until then.
        again: Duration,
    },
    /// An over-reach has stopped all removals of this process.
    #[error("removing tags is stopped in this process by an over-reach")]
    Stopped,
    /// Tags or images that an over-reach removed could not be put back.
    #[error("an over-reach could not be put back: {0}")]
    NotPutBack(String),
    /// The assessment panicked.
    #[error("the assessment panicked")]
    Panicked,
    /// The worker is stopping.
    #[error("the worker is stopping")]
    Abandoned,
}

impl Failure {
    /// Returns the word of logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        FailureKind::from(self).as_str()
    }

    /// Returns advice for a person at a terminal, to be printed after the failure's text.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(error) | Self::Transient(error) | Self::Rejected(error) => error.advice(),
            _ => "",
        }
    }

    /// Returns whether the message was to come again from the start, so that nothing has failed.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::SecondLook { .. })
    }

    /// Returns whether the failure itself says when the message comes again.
    pub(super) fn is_only_put_off(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Limited { .. } | Self::Unreplicated { .. })
    }
}

impl FailureKind {
    /// Returns the word of logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<Stopping> for Failure {
    fn from(Stopping: Stopping) -> Self {
        Self::Abandoned
    }
}

/// Turns an error of AWS whose call is not repeated any longer into a failure, by its class.
impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        match error.class {
            ErrorClass::Refused | ErrorClass::Credentials => Self::Refused(error),
            ErrorClass::Rejected => Self::Rejected(error),
            _ => Self::Transient(error),
        }
    }
}

impl From<Undelivered> for Failure {
    fn from(error: Undelivered) -> Self {
        match error {
            Undelivered::Failed(error) => Self::NotTold(error),
            Undelivered::Refused { topic, error } => Self::TopicRefused { topic, error },
            Undelivered::Stopping(_) => Self::Abandoned,
        }
    }
}
