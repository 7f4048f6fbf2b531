//! tagwarden takes the tags off container images in Amazon ECR that have Critical or High findings.

pub mod clock;
pub mod config;
pub mod domain;
pub mod event;
