//! tagwarden removes the tags of container images in Amazon ECR that violate the team's policy, by
//! default images with Critical or High findings.
//!
//! This is a tour for those who change the program: it is one program, and the library is not meant
//! for others. `docs/guarantees.md` has the numbered promises, and `docs/glossary.md` the words.
//!
//! # One message's way
//!
//! tagwarden is an always-on worker. Each message passes these rooms, and each step begins when the
//! one above it is confirmed:
//!
//! ```text
//!     Amazon SQS
//!         |  receive   queue      long polls, a lease for each message
//!         v
//!      worker                     one task for each message, and a slot for each repository
//!         |  parse     event      bytes to "assess this image"; pure
//!         v
//!      assess                     one assessment of an image at a time
//!         |  inspect   inspect    reads tags and findings from ECR, whatever the event says
//!         |  decide    domain     policy, evaluation, plan; pure
//!         |  mark      enforce    adds the quarantine tag, which keeps the image
//!         |  record    enforce    writes the names of its tags on the image
//!         |  remove    enforce    by tag and digest, and compares the answer with the request
//!         |  notify    notify     the team, through Amazon SNS
//!         v
//!      worker
//!         |  settle    outcome    one table: delete the message, or let it come again
//!         v
//!     Amazon SQS
//! ```
//!
//! When the process dies between any two steps, the message comes again, and the image and its
//! records show how far the work had come. Nothing else is remembered.
//!
//! # Where to begin
//!
//! Read `src/domain/evaluation.rs` first, then `src/domain/plan.rs`: they say what becomes of an
//! image, without AWS. Then follow a message through `src/event.rs`, `src/worker/processor.rs`,
//! `src/assess/assessor.rs`, `src/enforce/enforcer.rs` and `src/outcome.rs`. `src/app.rs` puts the
//! parts together.
//!
//! This example judges an event by the default policy. The worker itself takes no event's word for
//! the findings: it judges what ECR shows.
//!
//! ```
//! use tagwarden::domain::{evaluation::Subject, findings::Findings, names::*, policy::Policy};
//! use tagwarden::event::{self, Claim};
//!
//! let body = r#"{"source": "aws.ecr", "detail-type": "ECR Image Scan", "id": "1",
//!     "account": "111122223333", "region": "eu-west-1", "time": "2026-01-02T03:04:05Z",
//!     "detail": {"scan-status": "COMPLETE", "repository-name": "team/app", "image-tags": ["1.0"],
//!                "finding-severity-counts": {"CRITICAL": 1, "HIGH": 0}}}"#;
//! let account = AccountId::parse("111122223333")?;
//! let parsed = event::parse(body, &RegistryId { account, region: Region::parse("eu-west-1")? })?;
//! let image = parsed.event().ok_or("the event is about no image")?;
//! let Claim::Complete { counts: Some(counts), .. } = &image.claim else { panic!("no counts") };
//! let (repository, now) = (&image.repository, std::time::SystemTime::UNIX_EPOCH);
//! let subject = Subject { repository, digests: &[], pushed_at: None, now };
//! let evaluation = Policy::default().judge(&subject, &Findings::new(counts.clone(), []));
//! assert_eq!(evaluation.reasons, ["critical 1 exceeds the limit of 0"]);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rooms
//!
//! From top to bottom. A room imports from lower rooms only, and enters them by what their facade
//! re-exports; `tests/architecture.rs` holds that.
//!
//! - [`cli`]: arguments and exit codes, one file for each command. [`app`] builds every part once,
//!   and orders start and stop.
//! - [`check`]: what a configuration comes to, and which permissions it needs. [`config`]: files
//!   and variables to checked settings.
//! - [`worker`]: SQS in, settlement out. It knows nothing of ECR.
//! - [`ask`]: asks the worker to restore images, and follows its answers. [`explain`]: judges one
//!   event or image for people. [`quarantined`]: what is in quarantine, and by which records.
//! - [`sweep`]: looks at every image, whatever events there were; plans, and applies them.
//!   [`assess`]: one image from top to bottom. [`restore`]: gives tags back, and holds an image.
//! - [`enforce`]: everything that changes an image. [`inspect`]: reads from ECR and judges.
//!   [`outcome`]: the table that maps each outcome to what becomes of its message.
//! - [`queue`], [`registry`] and [`notify`]: the adapters to SQS, ECR and SNS. [`http`]: health and
//!   metrics. [`aws`]: clients, timeouts and error classes.
//! - [`health`], [`in_use`] (the policy in use), [`shutdown`], [`backoff`], [`bounded`],
//!   [`telemetry`], [`clock`] and [`table`]: what the rooms above share.
//! - [`event`] and [`domain`]: pure. They import nothing but `domain`.

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
pub(crate) mod in_use;
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
