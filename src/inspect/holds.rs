//! Reads from the records of an image whether somebody holds it, and which of its tags are recorded
//! already.
//!
//! A hold counts in the worker only if its signature is verified. A command that a person runs
//! without the keys cannot tell a hold from a forgery, so it shows the hold as not verified and
//! leaves the image alone, because the worker will decide.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;
use tracing::{info, warn};

use super::{RecordStore, Remembered, Request, Urgency};
use crate::clock::Clock;
use crate::domain::names::{Digest, Repository, Tag, joined};
use crate::domain::record::{HoldInForce, KnownRecords};
use crate::domain::text::escaped;
use crate::notify::hold_command;
use crate::outcome::Failure;
use crate::registry::Registry;

/// The end of a hold is warned of this long before, as that of an exception.
const SOON: Duration = Duration::from_secs(14 * DAY);
/// The end of a hold is urgent from this long before.
const VERY_SOON: Duration = Duration::from_secs(3 * DAY);
const DAY: u64 = 24 * 3600;
/// The most holds whose warning of the day is remembered. To warn twice does no harm.
const MAX_WARNED: usize = 1_000;

/// The holds on images.
#[derive(Debug)]
pub(crate) struct Holds<R> {
    records: Arc<RecordStore<R>>,
    clock: Clock,
    /// When the end of a hold was last warned of.
    warned: Cache<(Repository, Digest), SystemTime>,
}

/// What the records of an image say about removing tags from it now.
#[derive(Clone, Debug)]
pub(crate) struct HoldCheck {
    /// What a removal has to know of the records.
    pub known: KnownRecords,
    /// The hold that is in force.
    pub hold: Option<HoldInForce>,
}

impl<R: Registry> Holds<R> {
    #[must_use]
    pub(crate) fn new(records: Arc<RecordStore<R>>, clock: Clock) -> Self {
        Self { records, clock, warned: Cache::new(MAX_WARNED) }
    }

    /// Returns whether holds count for this request.
    #[must_use]
    pub(crate) fn count(&self, request: &Request) -> bool {
        self.records.settings().is_required
            && (self.records.keys().is_some() || request.urgency == Urgency::Immediate)
    }

    /// Reads what the records of an image say about removing these tags, and the hold that is in
    /// force.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    pub(crate) async fn read(
        &self,
        request: &Request,
        image: &Digest,
        tags: &[Tag],
    ) -> Result<HoldCheck, Failure> {
        let remembered = self.records.read(request, image).await?;
        let hold = self.in_force(request, image, tags, &remembered);
        let known = KnownRecords::of(&remembered.history, remembered.is_cut, tags);
        Ok(HoldCheck { known, hold })
    }

    fn in_force(
        &self,
        request: &Request,
        image: &Digest,
        tags: &[Tag],
        Remembered { history, is_cut }: &Remembered,
    ) -> Option<HoldInForce> {
        let name = &request.repository.name;
        if *is_cut {
            warn!(repository = %name, digest = %image, "{TOO_MANY}");
            return None;
        }
        if let Some(first) = history.unverified().first() {
            warn!(
                repository = %name,
                digest = %image,
                artifact = %first.digest,
                artifacts = history.unverified().len(),
                error = %first.why,
                "artifacts that look like records count for nothing"
            );
        }
        if !self.count(request) {
            return None;
        }
        let now = self.clock.now();
        let hold = HoldInForce::of(history, now, self.records.settings().max_hold);
        match &hold {
            Some(hold) if request.urgency != Urgency::Immediate => {
                let recorded = || history.quarantines().iter().flat_map(|noted| &noted.record.tags);
                let named: BTreeSet<_> = match tags {
                    [] => recorded().cloned().collect(),
                    tags => tags.iter().cloned().collect(),
                };
                let named: Vec<_> = named.into_iter().collect();
                self.warn_of_end(request, image, &named, hold, now);
            }
            None if !history.holds().is_empty() => {
                info!(
                    repository = %name,
                    digest = %image,
                    holds = history.holds().len(),
                    "no hold of the image is in force: each has ended, was withdrawn, is longer \
                     than restore.max_hold or begins later"
                );
            }
            _ => {}
        }
        hold
    }

    /// Warns once a day that a hold ends soon, and how it is prolonged.
    fn warn_of_end(
        &self,
        request: &Request,
        image: &Digest,
        tags: &[Tag],
        hold: &HoldInForce,
        now: SystemTime,
    ) {
        let left = hold.until.duration_since(now).unwrap_or_default();
        if left > SOON {
            return;
        }
        let key = (request.repository.clone(), image.clone());
        let is_recent = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs() < DAY;
        if self.warned.get(&key).is_some_and(is_recent) {
            return;
        }
        self.warned.insert(key, now);
        let repository = &request.repository;
        let longest = self.records.settings().max_hold;
        warn!(
            account = %repository.account,
            region = %repository.region,
            repository = %repository.name,
            digest = %image,
            tags = joined(tags),
            until = %humantime::format_rfc3339_seconds(hold.until),
            owner = %escaped(&hold.owner, &[]),
            reason = %escaped(&hold.reason, &[]),
            prolong = hold_command(repository, image, longest),
            "{}",
            match left <= VERY_SOON {
                true => "a hold ends within 3 days: then the image loses its tags",
                false => "a hold ends within 14 days: then the image loses its tags",
            }
        );
    }
}

/// Why no hold counts, for logs and notices.
pub(crate) const TOO_MANY: &str =
    "too many artifacts are attached to the image to be read: no hold counts";
