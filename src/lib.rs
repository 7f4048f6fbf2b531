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
//! - [`check`]: shows what a configuration means and which permissions it needs.
//! - [`config`]: checked settings.
//! - [`worker`]: SQS in, settlement out: polling, permits, fairness, one message.
//! - [`ask`]: asks the worker to restore images, and follows its answers.
//! - [`explain`]: judges one event or image for people. [`quarantined`]: what is in quarantine, and
//!   by which records.
//! - [`sweep`]: everything of sweeps. [`assess`]: one image from top to bottom. [`restore`]: gives
//!   tags back to an image, and holds it.
//! - [`enforce`]: everything that changes an image.
//! - [`inspect`]: reads from ECR and judges. [`outcome`]: the table that maps each outcome to the
//!   next state of its message.
//! - [`queue`]: receives, leases, batches. [`registry`]: reads images and changes them. [`notify`]:
//!   renders notices and sends them. [`http`], [`health`], [`shutdown`]: health endpoints, liveness
//!   and readiness, the steps of stopping. [`backoff`]: the pauses between tries. [`bounded`]:
//!   slots whose number has a limit.
//! - [`aws`]: clients, timeouts and error classes, shared by all adapters to AWS.
//! - [`telemetry`]: the log subscriber and all instruments.
//! - [`clock`]: the time of day. [`event`]: parses bytes into events. [`table`]: tables for people.
//! - [`domain`]: pure rules about names, findings, the policy and the plan.

#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the documentation is for those who change the program, and is built with private items"
)]

pub mod app;
pub(crate) mod ask;
pub(crate) mod assess;
pub mod aws;
pub(crate) mod backoff;
pub(crate) mod bounded;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub(crate) mod enforce;
pub mod event;
pub(crate) mod explain;
pub(crate) mod health;
pub mod http;
pub(crate) mod inspect;
pub mod notify;
pub(crate) mod outcome;
pub(crate) mod quarantined;
pub(crate) mod queue;
pub mod registry;
pub(crate) mod restore;
pub mod shutdown;
pub mod sweep;
pub(crate) mod table;
pub mod telemetry;
pub(crate) mod worker;
