//! Why a plan is not applied. Each of these is checked before any call that writes.

use std::time::{Duration, SystemTime};

use super::Document;
use crate::domain::names::RegistryId;
use crate::domain::policy::Fingerprint;

/// The age up to which a plan is applied. What a person has looked at is then still fresh.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// The most that the clocks of two machines may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);

/// Why a plan is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The work on it was interrupted.
    #[error("is incomplete: the work on it was interrupted; make a new plan")]
    Incomplete,
    /// It does not say when it was made.
    #[error("does not say when it was made: {0:?} is not a time; make a new plan")]
    NoTime(String),
    /// It is too old.
    #[error(
        "was made {} ago, and a plan is applied within 24h; make a new plan",
        humantime::format_duration(*.0)
    )]
    TooOld(Duration),
    /// It was made later than now.
    #[error(
        "was made {} from now: one of the clocks is wrong; make a new plan",
        humantime::format_duration(*.0)
    )]
    InTheFuture(Duration),
    /// It was made by another policy.
    #[error(
        "was made by another policy: sha256 {made_by} ({source_then}), and now {source_now} is \
         sha256 {now}; make a new plan, or use the policy by which it was made"
    )]
    OtherPolicy {
        /// The fingerprint of the plan's policy.
        made_by: String,
        /// Where the plan's policy was from.
        source_then: String,
        /// The fingerprint of the policy now.
        now: String,
        /// Where the policy is from now.
        source_now: String,
    },
    /// It was made in another account or Region.
    #[error(
        "is of {plan}, and you are in {own}; use the credentials and the Region of the plan, or \
         make a new plan"
    )]
    OtherRegistry {
        /// The account and Region of the plan.
        plan: String,
        /// Those of the caller.
        own: String,
    },
}

impl Refusal {
    /// Checks everything about a plan that needs no call: `policy` and `source` are those of now.
    ///
    /// # Errors
    /// The first reason why the plan is not applied.
    pub(crate) fn check(
        plan: &Document,
        policy: &Fingerprint,
        source: &str,
        now: SystemTime,
    ) -> Result<(), Self> {
        if !plan.complete {
            return Err(Self::Incomplete);
        }
        let made = humantime::parse_rfc3339(&plan.made_at)
            .map_err(|_| Self::NoTime(plan.made_at.clone()))?;
        let seconds = |time: Duration| Duration::from_secs(time.as_secs());
        match now.duration_since(made) {
            Ok(age) if age > OLDEST => return Err(Self::TooOld(seconds(age))),
            Err(early) if early.duration() > CLOCKS_DIFFER => {
                return Err(Self::InTheFuture(seconds(early.duration())));
            }
            _ => {}
        }
        if plan.policy.fingerprint != policy.as_str() {
            return Err(Self::OtherPolicy {
                made_by: Fingerprint::short(&plan.policy.fingerprint).to_owned(),
                source_then: plan.policy.source.clone(),
                now: policy.to_string(),
                source_now: source.to_owned(),
            });
        }
        Ok(())
    }

    /// Checks that a plan is of the caller's account and Region.
    ///
    /// # Errors
    /// [`Refusal::OtherRegistry`] if it is not.
    pub(crate) fn check_registry(plan: &Document, own: &RegistryId) -> Result<(), Self> {
        if plan.is_of(own) {
            return Ok(());
        }
        Err(Self::OtherRegistry {
            plan: format!("{} {}", plan.account, plan.region),
            own: format!("{} {}", own.account, own.region),
        })
    }
}
