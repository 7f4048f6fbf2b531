//! The rules of tagwarden: images, findings, the policy, and the plan that follows from them.
//!
//! The domain is pure. It has no I/O, no clock, no `async` and no AWS type, and it imports no other
//! module of this crate. The caller passes in the time and everything that was read from AWS, so a
//! test can check each rule with plain values.
//!
//! - Names: [`image`], [`globs`], [`text`], [`origin`].
//! - What ECR says about an image: [`findings`], [`index`], [`marks`], [`replication`].
//! - The policy: [`policy`], [`limits`], [`exception`].
//! - From findings to a decision: [`judgement`] applies the policy to findings, [`plan`] decides
//!   what to do, and [`untag`] checks the registry's answer.
//! - Words for people: [`notice`], [`coverage`].

pub mod coverage;
pub mod exception;
pub mod findings;
pub mod globs;
pub mod image;
pub mod index;
pub mod judgement;
pub mod limits;
pub mod marks;
pub mod notice;
pub mod origin;
pub mod plan;
pub mod policy;
pub mod replication;
pub mod text;
pub mod untag;
