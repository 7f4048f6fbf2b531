//! What tagwarden reasons about: images, findings, the policy and the plan.
//!
//! Everything here is pure: no I/O, no clock, no `async`, no AWS type. It imports nothing else of this crate.

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
