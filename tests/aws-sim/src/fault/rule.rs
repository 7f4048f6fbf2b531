//! Rules: which calls a fault is to strike.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Fault, FaultPlan, Predicate};
use crate::api::{ApiCall, Input, Service};
use crate::sim::Sim;

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

    /// Only calls of which this is true. It may look at the simulation.
    #[must_use]
    pub fn matching(
        mut self,
        predicate: impl Fn(&ApiCall) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.matching.push(Arc::new(predicate));
        self
    }

    /// Only calls that this access key signed.
    #[must_use]
    pub fn caller(self, access_key: &str) -> Self {
        let access_key = access_key.to_owned();
        self.matching(move |call| call.caller == access_key)
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

    /// Let the messages of a receive become visible to others again.
    #[must_use]
    pub fn redeliver(self, after: Duration) -> Self {
        self.fault(Fault::Redeliver(after))
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

    pub(super) fn strike(&mut self, call: &ApiCall) -> Option<Fault> {
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
