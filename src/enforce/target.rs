//! The image to enforce, with the request and the plan.

use crate::domain::names::Repository;
use crate::domain::plan::Plan;
use crate::inspect::{Request, Violation};

/// A violating image and the plan that is carried out now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The request that led here.
    pub request: &'a Request,
    /// The image, the reasons and the findings.
    pub violation: &'a Violation,
    /// The part of the violation's plan that is carried out.
    pub plan: &'a Plan,
}

impl<'a> Target<'a> {
    /// Returns a target with the whole plan of a violation.
    #[must_use]
    pub(crate) fn whole(request: &'a Request, violation: &'a Violation) -> Self {
        Self { request, violation, plan: &violation.plan }
    }

    /// Returns the same image with another plan.
    pub(super) fn with_plan(self, plan: &'a Plan) -> Self {
        Self { plan, ..self }
    }

    pub(super) fn repository(&self) -> &'a Repository {
        &self.request.repository
    }
}
