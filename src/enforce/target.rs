//! What is to be enforced, and for which request.

use crate::domain::names::Repository;
use crate::domain::plan::Plan;
use crate::inspect::{Request, Violation};

/// A violating image and what is to be done about it now.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The request that led here.
    pub request: &'a Request,
    /// The image, the reasons and the findings.
    pub violation: &'a Violation,
    /// The part of the violation's plan that is carried out.
    pub plan: &'a Plan,
}

impl<'a> Target<'a> {
    /// The whole plan of a violation.
    #[must_use]
    pub fn whole(request: &'a Request, violation: &'a Violation) -> Self {
        Self { request, violation, plan: &violation.plan }
    }

    /// The same image with another plan.
    pub(super) fn with_plan(self, plan: &'a Plan) -> Self {
        Self { plan, ..self }
    }

    pub(super) fn repository(&self) -> &'a Repository {
        &self.request.repository
    }
}
