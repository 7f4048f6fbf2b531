//! The rules of tagwarden: images, findings, the policy, and the plan that follows from them.
//!
//! The domain is pure. It has no I/O, no clock, no `async` and no AWS type, and it imports no other
//! module of this crate. The caller passes in the time and everything that was read from AWS, so a
//! test can check each rule with plain values.
//!
//! - Names: [`names`], [`globs`], [`text`], [`origin`].
//! - What ECR says about an image: [`image`], [`image_index`], [`findings`], [`marks`],
//!   [`replication`].
//! - The policy: [`policy`], [`limits`], [`exception`].
//! - From findings to a decision: [`evaluation`] applies the policy to findings, [`plan`] decides
//!   what to do, and [`reconcile`] checks the registry's answer.
//! - What the registry remembers of removals: [`record`].
//! - Words for people: [`notice`], [`coverage`].

pub(crate) mod coverage;
pub mod evaluation;
pub mod exception;
pub mod findings;
pub mod globs;
pub mod image;
pub mod image_index;
pub mod image_reference;
pub(crate) mod limits;
pub(crate) mod marks;
pub mod names;
pub mod notice;
pub mod origin;
pub mod plan;
pub mod policy;
pub(crate) mod reconcile;
pub mod record;
pub mod registries;
pub(crate) mod replication;
pub mod text;
