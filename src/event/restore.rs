//! The message that asks to give tags back to an image, to hold it, or to end a hold.
//!
//! A person sends it to the worker's queue by `tagwarden restore`. It names one image. Nothing in
//! it is trusted: who may ask is decided by the sender that SQS names, what may be given back by
//! the records on the image, and when it was sent by the queue's clock. It counts only as the plain
//! body of a message, because what passes through a topic or a bus has lost its sender.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde_json::json;

use super::sweep::SOURCE;
use crate::domain::names::{Digest, Repository, Tag};

/// The `detail-type` of the message.
pub const RESTORE: &str = "Restore Image";

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOrder {
    /// The id of the request, by which its outcome is found; `None` if it is the message's.
    pub request: Option<String>,
    /// The repository of the image.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
    /// What to do.
    pub action: RestoreAction,
}

/// What to do with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreAction {
    /// Give tags back if the image is within the policy.
    GiveBack {
        /// Only these of its removed tags; `None` for all of them.
        tags: Option<BTreeSet<Tag>>,
    },
    /// Give tags back, and leave the image alone until a time.
    Hold {
        /// Only these of its removed tags; `None` for all of them.
        tags: Option<BTreeSet<Tag>>,
        /// The end of the hold.
        until: SystemTime,
        /// Why the image is needed.
        reason: String,
        /// Who answers for it, as the sender wrote it.
        owner: String,
    },
    /// End the hold of the image.
    Withdraw,
}

impl RestoreOrder {
    /// Returns the body of the message.
    #[must_use]
    pub fn body(&self) -> String {
        let Repository { account, region, name } = &self.repository;
        let mut detail = json!({
            "account": account.as_str(),
            "region": region.as_str(),
            "repository": name.as_str(),
            "digest": self.digest.as_str(),
        });
        let mut set = |field: &str, value: serde_json::Value| {
            if let Some(detail) = detail.as_object_mut() {
                detail.insert(field.to_owned(), value);
            }
        };
        if let Some(request) = &self.request {
            set("request", json!(request));
        }
        match &self.action {
            RestoreAction::GiveBack { tags } | RestoreAction::Hold { tags, .. } => {
                if let Some(tags) = tags {
                    set("tags", tags.iter().map(Tag::as_str).collect());
                }
            }
            RestoreAction::Withdraw => set("withdraw", json!(true)),
        }
        if let RestoreAction::Hold { until, reason, owner, .. } = &self.action {
            set("until", json!(humantime::format_rfc3339_seconds(*until).to_string()));
            set("reason", json!(reason));
            set("owner", json!(owner));
        }
        json!({"source": SOURCE, "detail-type": RESTORE, "detail": detail}).to_string()
    }
}
