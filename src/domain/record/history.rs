//! The records of one image, read together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::facts::{Closing, Hold, Notification, Quarantined, Record, Withdrawal};
use super::id::{MAC, record_id};
use super::{InvalidRecord, RestoreKeys};
use crate::domain::names::{Digest, Repository, Tag};

/// An artifact that is attached to an image and has the type of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of the artifact's manifest.
    pub digest: Digest,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it was pushed, by the registry, if that was asked for.
    pub pushed_at: Option<SystemTime>,
}

impl Artifact {
    /// Returns the id of the record that it is, which does not depend on the bytes of its manifest.
    #[must_use]
    pub fn id(&self) -> Digest {
        record_id(&self.annotations)
    }

    /// Returns whether it carries a signature, whether or not the signature holds.
    #[must_use]
    pub fn carries_signature(&self) -> bool {
        self.annotations.contains_key(MAC)
    }
}

/// Whether the records of a history are known to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Every record has a signature of one of our keys.
    Verified,
    /// There is no key here. Anybody who can push may have written the records.
    NotVerified,
}

/// A record of an image. The same record may be stored in several artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted<T> {
    /// Its id: see [`Artifact::id`].
    pub id: Digest,
    /// When it was first pushed, by the registry, if that was asked for.
    pub pushed_at: Option<SystemTime>,
    /// What it says.
    pub record: T,
}

/// An artifact with the type of a record that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Why it does not count.
    pub why: InvalidRecord,
}

/// A tag that was removed and has not been closed since, with the records that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTag<'a> {
    /// The tag.
    pub tag: &'a Tag,
    /// The open records that name it, in the order of [`History::quarantines`].
    pub records: Vec<&'a Noted<Quarantined>>,
}

/// The records of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    trust: Trust,
    quarantines: Vec<Noted<Quarantined>>,
    outcomes: Vec<Noted<Closing>>,
    holds: Vec<Noted<Hold>>,
    withdrawals: Vec<Noted<Withdrawal>>,
    notifications: Vec<Noted<Notification>>,
    unverified: Vec<Unverified>,
}

/// By how much the clocks of two tasks may differ, at most.
const SKEW: Duration = Duration::from_secs(300);

impl History {
    /// Reads the artifacts of an image. With keys, only records with a valid signature count.
    #[must_use]
    pub fn read(
        repository: &Repository,
        image: &Digest,
        artifacts: impl IntoIterator<Item = Artifact>,
        keys: Option<&RestoreKeys>,
    ) -> Self {
        let trust = if keys.is_some() { Trust::Verified } else { Trust::NotVerified };
        let mut history = Self {
            trust,
            quarantines: Vec::new(),
            outcomes: Vec::new(),
            holds: Vec::new(),
            withdrawals: Vec::new(),
            notifications: Vec::new(),
            unverified: Vec::new(),
        };
        for Artifact { digest, annotations, pushed_at } in artifacts {
            // The signature comes first, because what strangers write is not worth reading.
            let is_ours =
                keys.is_none_or(|keys| keys.verify(repository, image, &annotations, pushed_at));
            let record =
                if is_ours { Record::read(&annotations) } else { Err(InvalidRecord::NotSigned) };
            match record {
                Ok(record) => history.add(record, record_id(&annotations), pushed_at),
                Err(why) => history.unverified.push(Unverified { digest, why }),
            }
        }
        Self {
            quarantines: in_order(history.quarantines),
            outcomes: in_order(history.outcomes),
            holds: in_order(history.holds),
            withdrawals: in_order(history.withdrawals),
            notifications: in_order(history.notifications),
            ..history
        }
    }

    fn add(&mut self, record: Record, id: Digest, pushed_at: Option<SystemTime>) {
        match record {
            Record::Quarantine(record) => {
                self.quarantines.push(Noted { id, pushed_at, record: *record });
            }
            Record::Outcome(record) => self.outcomes.push(Noted { id, pushed_at, record }),
            Record::Hold(record) => self.holds.push(Noted { id, pushed_at, record }),
            Record::Withdrawal(record) => {
                self.withdrawals.push(Noted { id, pushed_at, record });
            }
            Record::Notification(record) => {
                self.notifications.push(Noted { id, pushed_at, record });
            }
        }
    }

    /// Returns whether the records are known to be ours.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Returns whether the image has no artifact with the type of a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.quarantines.is_empty()
            && self.outcomes.is_empty()
            && self.holds.is_empty()
            && self.withdrawals.is_empty()
            && self.notifications.is_empty()
            && self.unverified.is_empty()
    }

    /// Returns the records of removals, oldest first as far as the times of pushes are known.
    #[must_use]
    pub fn quarantines(&self) -> &[Noted<Quarantined>] {
        &self.quarantines
    }

    /// Returns the outcomes, oldest first as far as the times of pushes are known.
    #[must_use]
    pub fn outcomes(&self) -> &[Noted<Closing>] {
        &self.outcomes
    }

    /// Returns the holds, oldest first as far as the times of pushes are known, those that ended
    /// included.
    #[must_use]
    pub fn holds(&self) -> &[Noted<Hold>] {
        &self.holds
    }

    /// Returns what the team was notified of, and when, for a request.
    pub fn notifications_of<'a>(
        &'a self,
        request: &'a str,
    ) -> impl Iterator<Item = &'a Notification> {
        let all = self.notifications.iter().map(|noted| &noted.record);
        all.filter(move |one| one.request == request)
    }

    /// Returns the artifacts that count for nothing.
    #[must_use]
    pub fn unverified(&self) -> &[Unverified] {
        &self.unverified
    }

    /// Returns the tags that were removed and not closed since, with the open records that name
    /// them.
    #[must_use]
    pub fn open_tags(&self) -> Vec<OpenTag<'_>> {
        let mut open: BTreeMap<&Tag, Vec<&Noted<Quarantined>>> = BTreeMap::new();
        for noted in &self.quarantines {
            let closings = self.outcomes.iter().map(|outcome| &outcome.record);
            let closings: Vec<_> =
                closings.filter(|closing| closing.closes.contains(&noted.id)).collect();
            let is_closed = |tag: &Tag| closings.iter().any(|closing| closing.closes(tag));
            for tag in noted.record.tags.iter().filter(|tag| !is_closed(tag)) {
                open.entry(tag).or_default().push(noted);
            }
        }
        open.into_iter().map(|(tag, records)| OpenTag { tag, records }).collect()
    }

    /// Returns the ids of the records that name one of these tags and leave it open.
    #[must_use]
    pub fn open_records_of(&self, tags: &BTreeSet<Tag>) -> BTreeSet<Digest> {
        let open = self.open_tags();
        let open = open.iter().filter(|open| tags.contains(open.tag));
        open.flat_map(|open| &open.records).map(|noted| noted.id.clone()).collect()
    }

    /// Returns the number of outcomes, which the next record of a removal carries.
    #[must_use]
    pub fn outcome_count(&self) -> u64 {
        u64::try_from(self.outcomes.len()).unwrap_or(u64::MAX)
    }

    /// Returns the hold that is in force now and lasts longest. A hold longer than `max_hold`, one
    /// from the future, and one that was withdrawn are never in force.
    #[must_use]
    pub fn hold(&self, now: SystemTime, max_hold: Duration) -> Option<&Noted<Hold>> {
        self.in_force(now, max_hold).max_by_key(|noted| noted.record.until)
    }

    /// Returns the hold that is in force now, lasts at least until then, and has this owner and
    /// reason. A request for such a hold asks for nothing new.
    #[must_use]
    pub fn hold_like(
        &self,
        owner: &str,
        reason: &str,
        until: SystemTime,
        now: SystemTime,
        max_hold: Duration,
    ) -> Option<&Noted<Hold>> {
        // Records have whole seconds, and requests may have fractions.
        let lasts = |hold: &Hold| hold.until + Duration::from_secs(1) > until;
        let is_like = |hold: &Hold| hold.owner == owner && hold.reason == reason && lasts(hold);
        let like = self.in_force(now, max_hold).filter(|noted| is_like(&noted.record));
        like.max_by_key(|noted| noted.record.until)
    }

    fn in_force(&self, now: SystemTime, max_hold: Duration) -> impl Iterator<Item = &Noted<Hold>> {
        self.holds.iter().filter(move |noted| {
            let Hold { until, issued, request, .. } = &noted.record;
            let length = until.duration_since(*issued).unwrap_or_default();
            let ahead = issued.duration_since(now).unwrap_or_default();
            *until > now && length <= max_hold && ahead <= SKEW && !self.is_withdrawn(request)
        })
    }

    /// Returns whether the hold of this request was withdrawn.
    #[must_use]
    pub fn is_withdrawn(&self, request: &str) -> bool {
        self.withdrawals.iter().any(|noted| noted.record.withdraws == request)
    }

    /// Returns the outcome of this request, if it was carried out or refused before.
    #[must_use]
    pub fn outcome_of(&self, request: &str) -> Option<&Noted<Closing>> {
        self.outcomes.iter().find(|noted| noted.record.request.as_deref() == Some(request))
    }

    /// Returns whether this request was carried out before: it has an outcome, or it withdrew a
    /// hold, or its own hold was withdrawn.
    #[must_use]
    pub fn is_answered(&self, request: &str) -> bool {
        self.outcome_of(request).is_some()
            || self.is_withdrawn(request)
            || self.withdrawals.iter().any(|noted| noted.record.request == request)
    }
}

/// Returns each record once, oldest first. Without times of pushes the ids give an order that is
/// the same at every reading.
fn in_order<T>(mut records: Vec<Noted<T>>) -> Vec<Noted<T>> {
    let earliest = |noted: &Noted<T>| (noted.pushed_at.is_none(), noted.pushed_at);
    records.sort_by(|one, other| {
        one.id.cmp(&other.id).then_with(|| earliest(one).cmp(&earliest(other)))
    });
    records.dedup_by(|later, first| later.id == first.id);
    records.sort_by(|one, other| (one.pushed_at, &one.id).cmp(&(other.pushed_at, &other.id)));
    records
}
