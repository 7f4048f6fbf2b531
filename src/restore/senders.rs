//! Decides who may ask, by the sender that SQS names.

use std::collections::HashSet;

use tokio::sync::OnceCell;

use super::refusal::{NotDone, Refusal};
use super::{PrincipalId, ReceivedOrder};
use crate::aws::{Aws, AwsError, Caller};

/// Who may ask.
#[derive(Debug)]
pub(super) struct Senders {
    aws: Aws,
    may_restore: HashSet<PrincipalId>,
    may_hold: HashSet<PrincipalId>,
    /// The unique id of the worker's own role, once it was asked for.
    own: OnceCell<String>,
}

impl Senders {
    pub(super) fn new(aws: Aws, may_restore: &[PrincipalId], may_hold: &[PrincipalId]) -> Self {
        let set = |list: &[PrincipalId]| list.iter().cloned().collect();
        let (may_restore, may_hold) = (set(may_restore), set(may_hold));
        Self { aws, may_restore, may_hold, own: OnceCell::new() }
    }

    /// Checks that the sender of a request may ask for it. The worker's own role may not, even if a
    /// list names it, because everything that runs in the worker's task can send as that role.
    pub(super) async fn check(&self, asked: &ReceivedOrder<'_>) -> Result<(), NotDone> {
        let sender = asked.principal().ok_or(Refusal::NoSender)?;
        let (list, key) = match asked.is_about_a_hold() {
            true => (&self.may_hold, "restore.hold_senders"),
            false => (&self.may_restore, "restore.senders"),
        };
        if !PrincipalId::parse(sender).is_ok_and(|id| list.contains(&id)) {
            return Err(Refusal::NotAllowed { sender: asked.sender(), list: key }.into());
        }
        match self.own().await {
            Ok(own) if own == sender => Err(Refusal::OwnRole(sender.to_owned()).into()),
            Ok(_) => Ok(()),
            Err(error) if error.class.is_transient() && !asked.attempt.is_last() => {
                Err(NotDone::Failed(error.into()))
            }
            Err(error) => Err(Refusal::UnknownRole(error.to_string()).into()),
        }
    }

    async fn own(&self) -> Result<&String, AwsError> {
        self.own.get_or_try_init(async || Caller::ask(&self.aws).await?.principal()).await
    }
}
