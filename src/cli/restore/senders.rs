//! Who asks, as far as this machine knows who may: the worker decides, but a request that it is
//! sure to refuse need not be sent, and waited for.

use crate::ask::Wish;
use crate::config::{self, ConfigError, JudgingSettings, Origin, Sources};
use crate::restore::PrincipalId;

/// The list of those who may ask, if the configuration of this command gives it.
#[derive(Debug)]
pub(super) struct KnownSenders {
    key: &'static str,
    /// The list, and the file or variable that gives it.
    list: Option<(Vec<PrincipalId>, String)>,
}

impl KnownSenders {
    /// Returns the list that counts for this wish.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub(super) fn new(
        wish: &Wish,
        settings: &JudgingSettings,
        sources: &Sources,
    ) -> Result<Self, ConfigError> {
        let (key, ids) = match wish {
            Wish::GiveBack => ("restore.senders", &settings.restore.senders),
            Wish::Hold { .. } | Wish::Withdraw => {
                ("restore.hold_senders", &settings.restore.hold_senders)
            }
        };
        let entries = config::effective(sources)?.into_iter();
        let origin =
            entries.filter(|entry| entry.key == key).find_map(|entry| match entry.origin {
                Origin::File(name) | Origin::Variable(name) => Some(name),
                Origin::Default | Origin::Unset => None,
            });
        Ok(Self { key, list: origin.map(|origin| (ids.clone(), origin)) })
    }

    /// Checks that the worker may carry out what these credentials ask for.
    ///
    /// # Errors
    /// Says why it is sure to refuse, and what to do.
    pub(super) fn check(&self, principal: &str) -> Result<(), String> {
        let Ok(id) = PrincipalId::parse(principal) else {
            return Err(format!(
                "the worker would refuse: {principal} is neither a role nor a user of IAM, and {} \
                 takes no others; use the credentials of a role",
                self.key
            ));
        };
        match &self.list {
            Some((ids, origin)) if !ids.contains(&id) => Err(format!(
                "the worker would refuse: {} does not list {id} ({origin}); use a role that it \
                 lists, or have {id} added to it where the worker runs; if the worker has another \
                 configuration, give that by --config",
                self.key
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Asks whether the list is the reason why there is no answer.
    pub(super) fn doubt(&self, principal: &str) -> String {
        format!("is {principal} in {}?", self.key)
    }

    /// Says who asks, in the form that the list takes.
    pub(super) fn says(&self, principal: &str) -> String {
        format!("you ask as {principal}; the worker looks for it in {}", self.key)
    }
}
