//! A simulated AWS for tagwarden's tests: SQS, ECR, SNS, EventBridge and a little STS, at the wire.
//!
//! One deterministic state machine (a request in, a reply out, a virtual clock, seeded identifiers, a fault plan) with
//! two faces. [`Sim::sdk_config`] puts the real AWS SDK on top of it inside the process: under a paused tokio runtime
//! everything is virtual, and the same seed gives the same bytes. [`Sim::serve`] serves it over HTTP in real time, for
//! programs.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), aws_sdk_ecr::Error> {
//! use aws_sim::{FaultRule, Sim};
//!
//! let sim = Sim::default();
//! let repository = sim.create_repository("team/app");
//! let digest = sim.push_image(&repository, &["1.2.3", "latest"], "some content");
//! sim.set_faults(FaultRule::on("BatchDeleteImage").first(1).error("ThrottlingException"));
//!
//! let ecr = aws_sdk_ecr::Client::new(&sim.sdk_config());
//! let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("latest").image_digest(&digest).build();
//! ecr.batch_delete_image().repository_name("team/app").image_ids(id).send().await?;
//!
//! assert_eq!(sim.tags(&repository, &digest), Some(vec!["1.2.3".to_owned()]));
//! assert_eq!(sim.calls_of("BatchDeleteImage").len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | `wire`, `protocol`, `query`, `api` | requests and replies, in each service's protocol |
//! | `world`, `sqs`, `ecr`, `sns`, `events`, `pattern`, `sts`, `tags` | the state machine: synchronous, given the time |
//! | `fault`, `codes`, `partial` | what goes wrong, and with which call |
//! | `sim`, `clock`, `signature`, `trace` | the asynchronous shell: the course of a call, virtual time, the record of calls |
//! | `connector`, `server` | the two faces |
//! | `setup`, `inspect`, [`manifest`] | for tests: setting the scene, and looking at what became of it |
//!
//! # What can go wrong
//!
//! | what | how |
//! |---|---|
//! | an error before or after the effect, throttling, 5xx, expired credentials, one API denied | [`Fault::error`], `ErrorAfter`, with the codes of [`Service::throttling_codes`] and its neighbours |
//! | late, never, and lost answers | `Delay`, `DelayReply`, `Hang`, `HangAfter`, `ConnectionReset`, `ConnectionResetAfter` |
//! | part of a batch fails | `FailEntries` |
//! | a message comes twice, or out of order | `Redeliver`, [`SimConfig::reorder`] |
//! | a receipt handle goes stale | [`Sim::receive_elsewhere`], [`Sim::make_visible`], [`Sim::make_all_visible`] |
//! | the callers' clocks jump | [`Sim::set_callers_clock`] |
//! | somebody moves a tag, deletes an image, a repository, a queue or a topic between any two calls | `Act` |
//! | the reply is not what was asked for | `Replace` |
//!
//! A [`FaultRule`] says which calls a fault strikes, and [`RandomFaults`] draws from a seed which of its rules do. What
//! struck a call stands in [`Call::faults`]. [`Sim::watch`] shows a test every call at the moments that matter.
//!
//! # Time
//!
//! The clock shows [`SimConfig::epoch`] plus the tokio time since the simulation was made. Nothing in here sleeps but
//! injected delays, the latency of the in-process face and long polls. A condition is awaited with [`Sim::wait_until`],
//! which is woken by every change.
//!
//! # Under load
//!
//! Every call is recorded with its request and its reply, and every event, so memory grows with them. Under
//! [`Record::Counts`] only the number of calls of each operation is kept, for [`Sim::call_counts`]; what looks at the
//! record of calls or events panics. Faults work as ever, published notices are kept, and [`Sim::wait_until`] is woken
//! by every change. How many messages a queue holds hardly matters to what a call costs, unless
//! [`SimConfig::reorder`] is set; [`Sim::queue`] copies them all.
//!
//! # How it differs from AWS
//!
//! - There are no permissions: every account may do everything. Refusals are injected as faults. `AssumeRole` accepts
//!   any role; the access key that it gives carries the role's account, and never expires here.
//! - Of a signature only the time is checked, and only inside the process, since callers over a socket have another
//!   clock. The limit is five minutes for every service; SQS and SNS are known to have allowed fifteen.
//! - The codes for what any call can meet are those that the services' models and users name; which of them a service
//!   gives when is not known. Their HTTP statuses depend on the code alone.
//! - Who somebody is comes from the access key: a user of its own, or what [`Sim::set_sender`] says. The access key that
//!   `AssumeRole` gives is the same for all roles of an account, and is the one that was assumed last.
//! - SQS: standard queues only, in order of arrival unless [`SimConfig::reorder`] says otherwise, each message delivered
//!   once unless its visibility ends or a fault delivers it again. While it is visible again, its old handle still
//!   deletes, and does not extend. No queue policies, no encryption, no move tasks. `DeleteQueue` and
//!   `PurgeQueue` act at once, without AWS's 60 seconds. The receive count goes on counting in the dead-letter queue.
//!   A long poll whose caller goes away takes what comes until its wait is over ([`Sim::abandoned_polls`]), as with AWS;
//!   it is first in turn, which AWS does not promise. `Fault::HangAfter` is the receive whose answer is lost.
//! - ECR: lifecycle policies expire nothing. The layers of images are checked only in a repository that has had one
//!   uploaded other than the empty blob, and blobs stay for good. Pull-through cache rules are listed, and nothing is
//!   pulled through. Images are archived and activated by set-up only, at once. That `PutImage` refuses an archived
//!   image, that `BatchGetImage` calls it `ImageNotFound`, and that an image on its way back (`ACTIVATING`) is treated
//!   as an archived one are guesses.
//!   What is attached to an image, its subject, always needs its blobs. It goes with its subject, tagged or not, without
//!   an event, and at once unless [`Sim::set_referrer_cleanup`] says otherwise: AWS takes up to 24 hours, and its user
//!   guide says so of lifecycle policies only. It stays if its subject is back by then, or was not there when it was
//!   pushed. Guesses: what is said of a blob of another size (`InvalidParameterException`), that an unknown subject has
//!   no referrers and is no error (the model of `ListImageReferrers` has no error for it), the order of referrers (by
//!   digest), their `size` (of the manifest), that they are not scanned unless they are container images, and that
//!   archiving an image leaves them alone.
//!   Scans on push cover new digests only; indexes are never scanned, and nothing is scanned again by itself.
//!   `findingSeverityCounts` stands on the first page of findings only, which AWS leaves open. `BatchGetImage` answers
//!   a manifest of a type that was not accepted with `ImageNotFound`, which is a guess. A list may change between its
//!   pages: a page goes on after the last row of the one before. Identifiers of a `BatchDeleteImage` are looked up
//!   together and then carried out in order, so an index and its child go in one call if the index comes first.
//!   Replication copies what is pushed and, where a rule says so, repeats what is removed; each change takes a time of its
//!   own ([`Sim::set_replication`]), so that the removal of a tag can overtake the tag that was put before it, which AWS
//!   leaves open. Copies send no events. `DescribeImageReplicationStatus` knows of images and not of their tags.
//! - SNS: standard topics and SQS subscribers only. A dropped delivery (no such queue) is silent. No `PublishBatch`.
//! - Inspector: no API, and its findings send events only where a test says so ([`Sim::emit_findings`]).
//! - EventBridge: the default bus, rules with patterns, queues as targets, delivery at once and exactly once.
//!   `PutEvents` accepts `aws.` sources, which AWS reserves, so that a local run can send scan events.
//! - No call is throttled by itself.
//!
//! # How it differs from moto
//!
//! moto 5.2 deletes a whole image where a tag and its digest are given, does not compare the two, protects no children
//! of an index, accepts more than 100 identifiers, calls an immutable tag's overwrite `ImageAlreadyExistsException`,
//! digests something other than the manifest's bytes, and pages no ECR list. None of this is so here;
//! [`DeleteRules::WholeImage`] brings back the first three, to show that a caller survives them.

mod api;
mod clock;
mod codes;
mod config;
mod connector;
mod ecr;
mod events;
mod fault;
mod ids;
mod inspect;
pub mod manifest;
mod partial;
mod pattern;
mod protocol;
mod query;
mod server;
mod setup;
mod signature;
mod sim;
mod sns;
mod sqs;
mod sts;
mod tags;
mod trace;
mod wildcard;
mod wire;
mod world;

pub use api::{ApiCall, ApiError, Service};
pub use config::{DeleteRules, Record, SimConfig};
pub use ecr::findings::{Finding, ScanResult, Scanning};
pub use ecr::{ReplicationRule, RepoKey};
pub use fault::{
    Action, Edit, EntryPredicate, Fault, FaultPlan, FaultRule, NoFaults, Predicate, RandomFaults,
};
pub use inspect::{MessageView, QueueView, Referrer};
pub use server::ServerGuard;
pub use sim::{Moment, Sim};
pub use sns::Published;
pub use trace::{Call, CallOutcome};
pub use wire::{ConnectionFault, Request, Response};
