//! Events from accounts and Regions that the policy does not cover: refused, and told once a day.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::assess::{Assessor, Job};
use super::outcome::{Failure, Outcome};
use crate::domain::image::{Digest, Home};
use crate::domain::notice::NoticeAction;
use crate::domain::policy::OutOfReach;
use crate::notify::Notifier;
use crate::registry::Registry;
use crate::telemetry::logs::AUDIT;

/// How often the team is told of the same account and Region.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Places that are remembered: whoever can send events can name any. Of more than these the log alone tells.
const MOST: usize = 100;

/// The places of which the team was told, and when.
#[derive(Debug, Default)]
pub(super) struct Foreign(Mutex<HashMap<Home, Instant>>);

impl Foreign {
    fn told(&self) -> MutexGuard<'_, HashMap<Home, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to tell of this place; from here on it counts as told.
    fn is_news(&self, home: &Home) -> bool {
        let mut told = self.told();
        told.retain(|_, at| at.elapsed() < EVERY);
        if told.len() >= MOST || told.contains_key(home) {
            return false;
        }
        told.insert(home.clone(), Instant::now());
        true
    }

    fn not_told(&self, home: &Home) {
        self.told().remove(home);
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Does nothing for an event that the policy does not cover. Somebody sends the events of an account or Region that
    /// nobody allowed: of that the team is told, by the first event that names an image.
    pub(super) async fn refuse(&self, job: Job<'_>, why: OutOfReach) -> Result<Outcome, Failure> {
        let repository = &job.event.repository;
        let home = repository.home();
        info!(
            target: AUDIT,
            message_id = job.message.id,
            event_id = job.event_id(),
            account = %repository.account,
            region = %repository.region,
            repository = %repository.name,
            digest = job.event.digest.as_ref().map(Digest::as_str),
            why = why.as_str(),
            "out of reach"
        );
        if let (OutOfReach::Account | OutOfReach::Region, Some(digest)) = (why, &job.event.digest)
            && self.foreign.is_news(&home)
        {
            let why = why.as_str();
            warn!(account = %home.account, region = %home.region, why, "events are refused");
            let mut notice = self.blank_notice(job, digest, NoticeAction::Unscanned);
            notice.reasons.push(format!(
                "{why}: events of account {}, Region {} are refused, and this is told once a day; add it to the \
                 policy, or keep its events from the queue",
                home.account, home.region
            ));
            if let Err(failure) = self.tell(notice).await {
                self.foreign.not_told(&home);
                return Err(failure);
            }
        }
        Ok(Outcome::OutOfReach(why))
    }
}
