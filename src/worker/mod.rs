//! The worker: takes messages, assesses images, settles.

mod access;
mod allowance;
pub mod assess;
pub mod consumer;
pub mod disposition;
pub mod exceptions;
mod flights;
mod foreign;
mod holds;
mod listings;
pub mod look;
mod memory;
mod message;
mod notices;
pub mod observe;
pub mod outcome;
mod overreach;
mod probe;
mod refusals;
mod report;
mod single_flight;
pub mod survey;
mod sweep;
mod told;
pub mod topics;
mod turns;
pub mod untagging;
