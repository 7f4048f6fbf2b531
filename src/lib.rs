//! tagwarden takes the tags off container images in Amazon ECR that have Critical or High findings.
//!
//! It is an always-on worker: it receives scan events from Amazon SQS, looks at the image in ECR, judges it by the
//! team's policy, puts a quarantine tag on an image that violates it, takes the other tags off, tells the team
//! through Amazon SNS, and only then deletes the message. `docs/architecture.md` has the bird's eye view and the
//! invariants.
//!
//! The map, from the top; imports run downwards only:
//!
//! - [`cli`]: the command line, exit codes.
//! - [`app`]: the composition root, which owns every task and orders start and stop.
//! - [`explain`]: judges one event without touching anything. [`check`]: what a configuration comes to and needs.
//!   [`survey`]: what a sweep from the command line saw and did.
//! - [`worker`]: the polling loop, the assessment of one image, the table of dispositions.
//! - [`event`]: from bytes to *assess this image*. [`queue`]: receives, leases, batches. [`registry`]: what an
//!   image is and the calls that change it. [`notify`]: notices and how they are sent. [`http`], [`health`],
//!   [`shutdown`].
//! - [`aws`]: what the adapters share: clients, timeouts, classes of errors.
//! - [`telemetry`]: log subscriber, instruments.
//! - [`config`] and [`clock`]: checked settings, the time of day.
//! - [`domain`]: pure: names, findings, the policy, the plan.

pub mod app;
pub mod aws;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod event;
pub mod explain;
pub mod health;
pub mod http;
pub mod notify;
pub mod queue;
pub mod registry;
pub mod shutdown;
pub mod survey;
pub mod telemetry;
pub mod worker;
