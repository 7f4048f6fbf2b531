//! tagwarden removes the tags of container images in Amazon ECR that violate the team's policy, by
//! default images with Critical or High findings.
//!
//! tagwarden is an always-on worker. It receives scan events from Amazon SQS, reads the image from
//! ECR, and judges it by the team's policy. When an image violates the policy, tagwarden adds a
//! quarantine tag, which keeps the image, removes the other tags, notifies the team through Amazon
//! SNS, and only then deletes the message. `docs/architecture.md` has the bird's eye view and the
//! invariants.
//!
//! The modules, from top to bottom. A module imports only modules below it:
//!
//! - [`cli`]: the command line and the exit codes.
//! - [`app`]: the composition root. It owns every task and orders start and stop.
//! - [`explain`]: judges one event and changes nothing. [`check`]: shows what a configuration means
//!   and which permissions it needs. [`survey`]: the results of a sweep from the command line.
//! - [`worker`]: the polling loop, the assessment of one image, and the table that maps each
//!   outcome to the next state of its message.
//! - [`event`]: parses bytes into the request to assess one image. [`queue`]: receives, leases,
//!   batches. [`registry`]: reads images and changes them. [`notify`]: renders notices and sends
//!   them. [`http`], [`health`], [`shutdown`]: health endpoints, liveness and readiness, the steps
//!   of stopping.
//! - [`aws`]: clients, timeouts and error classes, shared by all adapters to AWS.
//! - [`telemetry`]: the log subscriber and all instruments.
//! - [`config`] and [`clock`]: checked settings, and the time of day.
//! - [`domain`]: pure rules about names, findings, the policy and the plan.

pub mod app;
pub mod assess;
pub mod aws;
pub mod backoff;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod enforce;
pub mod event;
pub mod explain;
pub mod health;
pub mod http;
pub mod inspect;
pub mod notify;
pub mod outcome;
pub mod queue;
pub mod registry;
pub mod shutdown;
pub mod sweep;
pub mod telemetry;
pub mod worker;
