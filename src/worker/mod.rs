//! The worker: takes messages, assesses images, settles.

mod access;
pub mod assess;
pub mod consumer;
pub mod disposition;
mod overreach;
mod probe;
mod refusals;
mod report;
mod told;
pub mod untagging;
