//! The assessment of one image: what a request leads to.
//!
//! [`Assessor`] orders the stages and holds none of their state: it asks [`crate::inspect`] what an
//! image is, lets [`crate::enforce`] do what follows, and shares the result with other messages
//! about the same image. No event's word is enough to act on (invariant 6): of every image that
//! its event does not clear, ECR is asked.

mod assessor;
mod out_of_scope;
mod single_flight;

pub(crate) use self::assessor::{Assessment, Assessor, Stages};
