//! Gives back the tags of an image in quarantine, and holds an image that violates the policy, when
//! somebody who may do so asks for it.
//!
//! A request is the body of a message. Nothing in it decides: who may ask is decided by the sender
//! that SQS names, when it was asked by the queue's clock, and which tags may be given back by the
//! signed records on the image, which a request can only narrow. Because a person asked, a request
//! is carried out in audit mode too (invariant 8), and after an over-reach: it removes nothing.
//!
//! The order of a restore is: hold, tags, outcome, notice. When the process dies between any two
//! steps, the message comes again, finds what is done and does the rest. The outcome is a record
//! with the id of the request, so that a request is carried out once however often it is sent.
//!
//! A task that began to remove tags before it could see a hold finishes after the restore. So the
//! message of a held image comes again after one visibility timeout, for a second look.

mod actions;
mod answering;
mod given;
mod holding;
mod judging;
mod received;
mod refusal;
mod restorer;
mod scene;
mod senders;
mod settings;

pub(crate) use self::actions::declare;
pub(crate) use self::received::ReceivedOrder;
pub(crate) use self::restorer::{Restorer, RestorerParts};
pub(crate) use self::settings::{PrincipalId, RestoreSettings};
