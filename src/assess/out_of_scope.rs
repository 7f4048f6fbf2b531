//! Refuses events of accounts, Regions and repositories that the policy does not cover.
//!
//! If the account or Region is not covered, the team is notified once a day, because somebody sends
//! events that nobody allowed. The registries of which it was notified have a limit, and at the
//! limit no further one is news. None is forgotten to make room, because whoever names many
//! accounts could then have the team notified without end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::names::{Digest, RegistryId};
use crate::domain::notice::NoticeAction;
use crate::domain::policy::OutOfScope;
use crate::enforce::blank_notice;
use crate::inspect::Request;
use crate::notify::{Dispatcher, Notifier};
use crate::outcome::{Failure, Outcome};
use crate::telemetry::logs::AUDIT;

/// How often the team is notified of the same account and Region.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// The most registries of which the team is notified in that time. Beyond it, only the log records
/// the event.
const MAX_REGISTRIES: usize = 100;

/// Refuses events that the policy does not cover.
#[derive(Debug)]
pub(super) struct Refusals<N> {
    dispatcher: Arc<Dispatcher<N>>,
    notified: Mutex<HashMap<RegistryId, Instant>>,
}

impl<N: Notifier> Refusals<N> {
    pub(super) fn new(dispatcher: Arc<Dispatcher<N>>) -> Self {
        Self { dispatcher, notified: Mutex::default() }
    }

    /// Refuses an event. The first event of an account or Region that names an image notifies the
    /// team.
    pub(super) async fn refuse(
        &self,
        request: &Request,
        why: OutOfScope,
    ) -> Result<Outcome, Failure> {
        let repository = &request.repository;
        let registry_id = repository.registry_id();
        info!(
            target: AUDIT,
            message_id = request.message_id.as_deref(),
            event_id = request.event_id,
            account = %repository.account,
            region = %repository.region,
            repository = %repository.name,
            digest = request.digest.as_ref().map(Digest::as_str),
            why = why.as_str(),
            "out of reach"
        );
        if let (OutOfScope::Account | OutOfScope::Region, Some(digest)) = (why, &request.digest)
            && self.is_news(&registry_id)
        {
            let why = why.as_str();
            let RegistryId { account, region } = &registry_id;
            warn!(%account, %region, why, "events are refused");
            let mut notice = blank_notice(request, digest, NoticeAction::Unscanned);
            notice.reasons.push(format!(
                "{why}: events of account {}, Region {} are refused, and you are notified of this \
                 once a day; add it to the policy, or keep its events from the queue",
                registry_id.account, registry_id.region
            ));
            if let Err(failure) = self.dispatcher.notify(notice).await {
                self.notified.lock().remove(&registry_id);
                return Err(failure.into());
            }
        }
        Ok(Outcome::OutOfScope(why))
    }

    /// Returns whether the team is to be notified of this registry, and counts it as notified.
    fn is_news(&self, registry_id: &RegistryId) -> bool {
        let mut notified = self.notified.lock();
        notified.retain(|_, at| at.elapsed() < EVERY);
        if notified.len() >= MAX_REGISTRIES || notified.contains_key(registry_id) {
            return false;
        }
        notified.insert(registry_id.clone(), Instant::now());
        true
    }
}
