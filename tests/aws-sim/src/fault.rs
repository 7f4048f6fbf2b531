//! Faults: what goes wrong with a call, and the plans that decide which call it goes wrong with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::api::{ApiCall, ApiError, Input, Service};
use crate::sim::Sim;

/// Changes a reply before it is sent.
pub type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;
/// Something that somebody else does at this moment.
pub type Action = Arc<dyn Fn(&Sim) + Send + Sync>;
/// Picks calls by what they ask for.
pub type Predicate = Arc<dyn Fn(&ApiCall) -> bool + Send + Sync>;
/// Picks entries of a batch.
pub type EntryPredicate = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// One thing that goes wrong with one call.
#[derive(Clone)]
pub enum Fault {
    /// The call is refused with this error and has no effect.
    ErrorBefore(ApiError),
    /// The call has its effect, and is answered with this error.
    ErrorAfter(ApiError),
    /// The call arrives late, and has its effect then even if its caller has given it up.
    Delay(Duration),
    /// The call has its effect at once, and its answer is late.
    DelayReply(Duration),
    /// The call has no effect and is never answered.
    Hang,
    /// The call has its effect and is never answered.
    HangAfter,
    /// The connection is reset before the call has an effect.
    ConnectionReset,
    /// The connection is reset after the call had its effect.
    ConnectionResetAfter,
    /// Entries of a batch (of SQS, or the image ids of `BatchDeleteImage`) fail with this code, without effect.
    FailEntries {
        /// The code of the failed entries.
        code: String,
        /// Which entries fail.
        entries: EntryPredicate,
    },
    /// The call has its effect, and its reply is changed.
    Replace(Edit),
    /// Somebody acts just before the call.
    Act(Action),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorBefore(error) => f.debug_tuple("ErrorBefore").field(error).finish(),
            Self::ErrorAfter(error) => f.debug_tuple("ErrorAfter").field(error).finish(),
            Self::Delay(time) => f.debug_tuple("Delay").field(time).finish(),
            Self::DelayReply(time) => f.debug_tuple("DelayReply").field(time).finish(),
            Self::Hang => f.write_str("Hang"),
            Self::HangAfter => f.write_str("HangAfter"),
            Self::ConnectionReset => f.write_str("ConnectionReset"),
            Self::ConnectionResetAfter => f.write_str("ConnectionResetAfter"),
            Self::FailEntries { code, .. } => f.debug_tuple("FailEntries").field(code).finish(),
            Self::Replace(_) => f.write_str("Replace"),
            Self::Act(_) => f.write_str("Act"),
        }
    }
}

impl Fault {
    /// Refusal with an error code: HTTP 500 or 503 for the service's own errors, else 400.
    pub fn error(code: &str) -> Self {
        let status = match code {
            "ServerException" | "InternalFailure" | "InternalError" | "InternalServerError" => 500,
            "ServiceUnavailable" | "ServiceUnavailableException" => 503,
            _ => 400,
        };
        Self::ErrorBefore(ApiError::new(code, "injected by the simulation").with_status(status))
    }
}

/// Decides what goes wrong. Asked once for each call, in order of arrival.
pub trait FaultPlan: Send {
    /// The faults of a call, in the order in which they strike; none for a call that goes well.
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault>;
}

/// Nothing goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl FaultPlan for NoFaults {
    fn faults(&mut self, _: &ApiCall) -> Vec<Fault> {
        Vec::new()
    }
}

/// Every rule that strikes adds its fault.
impl FaultPlan for Vec<FaultRule> {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        self.iter_mut().filter_map(|rule| rule.strike(call)).collect()
    }
}

/// A single rule.
impl FaultPlan for FaultRule {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        self.strike(call).into_iter().collect()
    }
}

/// The calls that a fault is to strike: picked by operation and content, some of them skipped, so many of them struck.
///
/// `FaultRule::on("BatchDeleteImage").first(2).error("ThrottlingException")`
#[derive(Clone)]
pub struct FaultRule {
    service: Option<Service>,
    operation: Option<String>,
    matching: Vec<Predicate>,
    skip: usize,
    times: Option<usize>,
    fault: Fault,
}

impl fmt::Debug for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultRule")
            .field("service", &self.service)
            .field("operation", &self.operation)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl FaultRule {
    /// A rule for the calls of an operation. Until its fault is set, it resets the connection.
    pub fn on(operation: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..Self::always() }
    }

    /// A rule for all calls of a service.
    pub fn on_service(service: Service) -> Self {
        Self { service: Some(service), ..Self::always() }
    }

    /// A rule for all calls.
    pub fn always() -> Self {
        Self {
            service: None,
            operation: None,
            matching: Vec::new(),
            skip: 0,
            times: None,
            fault: Fault::ConnectionReset,
        }
    }

    /// Only calls of which this is true.
    #[must_use]
    pub fn matching(
        mut self,
        predicate: impl Fn(&ApiCall) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.matching.push(Arc::new(predicate));
        self
    }

    /// Only calls on this account.
    #[must_use]
    pub fn account(self, account: &str) -> Self {
        let account = account.to_owned();
        self.matching(move |call| call.target_account() == account)
    }

    /// Only ECR calls on this repository name.
    #[must_use]
    pub fn repository(self, name: &str) -> Self {
        let name = name.to_owned();
        self.matching(move |call| call.input.text("repositoryName") == Some(&name))
    }

    /// Let so many calls pass first.
    #[must_use]
    pub fn skip(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// Strike so many calls and then no more.
    #[must_use]
    pub fn first(mut self, calls: usize) -> Self {
        self.times = Some(calls);
        self
    }

    /// Strike one call.
    #[must_use]
    pub fn once(self) -> Self {
        self.first(1)
    }

    /// Any fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Refuse with an error code; see [`Fault::error`].
    #[must_use]
    pub fn error(self, code: &str) -> Self {
        self.fault(Fault::error(code))
    }

    /// Take effect, and answer with an error all the same.
    #[must_use]
    pub fn error_after(self, code: &str) -> Self {
        match Fault::error(code) {
            Fault::ErrorBefore(error) => self.fault(Fault::ErrorAfter(error)),
            other => self.fault(other),
        }
    }

    /// Arrive late.
    #[must_use]
    pub fn delay(self, time: Duration) -> Self {
        self.fault(Fault::Delay(time))
    }

    /// Never answer, without effect.
    #[must_use]
    pub fn hang(self) -> Self {
        self.fault(Fault::Hang)
    }

    /// Reset the connection before the effect.
    #[must_use]
    pub fn reset(self) -> Self {
        self.fault(Fault::ConnectionReset)
    }

    /// Reset the connection after the effect.
    #[must_use]
    pub fn reset_after(self) -> Self {
        self.fault(Fault::ConnectionResetAfter)
    }

    /// Fail every entry of a batch.
    #[must_use]
    pub fn fail_entries(self, code: &str) -> Self {
        self.fail_entries_where(code, |_| true)
    }

    /// Fail those entries of a batch of which this is true.
    #[must_use]
    pub fn fail_entries_where(
        self,
        code: &str,
        entries: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.fault(Fault::FailEntries { code: code.to_owned(), entries: Arc::new(entries) })
    }

    /// Change the reply.
    #[must_use]
    pub fn replace(self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.fault(Fault::Replace(Arc::new(edit)))
    }

    /// Let somebody act just before the call.
    #[must_use]
    pub fn act(self, action: impl Fn(&Sim) + Send + Sync + 'static) -> Self {
        self.fault(Fault::Act(Arc::new(action)))
    }

    fn strike(&mut self, call: &ApiCall) -> Option<Fault> {
        let addressed = self.service.is_none_or(|service| service == call.service)
            && self.operation.as_ref().is_none_or(|operation| *operation == call.operation)
            && self.matching.iter().all(|predicate| predicate(call));
        if !addressed {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        match &mut self.times {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        Some(self.fault.clone())
    }
}

/// Faults at random from a seed, up to a number of them, so that a run always comes to rest.
#[derive(Debug)]
pub struct RandomFaults {
    rng: fastrand::Rng,
    chances: Vec<(f64, FaultRule)>,
    budget: usize,
}

impl RandomFaults {
    /// A plan that strikes at most `budget` times.
    pub fn new(seed: u64, budget: usize) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), chances: Vec::new(), budget }
    }

    /// Lets a rule strike with a probability.
    #[must_use]
    pub fn chance(mut self, probability: f64, rule: FaultRule) -> Self {
        self.chances.push((probability, rule));
        self
    }
}

impl FaultPlan for RandomFaults {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        // Draw for every rule, so that what one rule matches does not shift the draws of the others.
        let mut struck = Vec::new();
        for (probability, rule) in &mut self.chances {
            let drawn = self.rng.f64() < *probability;
            if drawn
                && self.budget > 0
                && struck.is_empty()
                && let Some(fault) = rule.strike(call)
            {
                self.budget -= 1;
                struck.push(fault);
            }
        }
        struck
    }
}
