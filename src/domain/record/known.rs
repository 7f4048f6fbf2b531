//! What the records of an image mean for removing tags from it now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::{History, LONGEST_NAME, Quarantined, Trust};
use crate::domain::names::{Digest, Tag};
use crate::domain::text::{escaped, start};

/// What a removal has to know of the records of an image. An image that never bore our mark has
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRecords {
    /// The records that leave some of these tags open, each with those tags alone.
    pub open: Vec<Quarantined>,
    /// The number of outcomes, which the next record carries.
    pub outcomes: u64,
    /// Whether more artifacts are attached to the image than are read. Then no hold counts.
    pub is_cut: bool,
    /// Whether the repository has no room for a record of the tags that are removed now.
    pub has_no_room: bool,
}

impl KnownRecords {
    /// Returns what these records mean for removing these tags.
    #[must_use]
    pub fn of(history: &History, is_cut: bool, tags: &[Tag]) -> Self {
        // Anybody can attach records that name very many tags.
        let tags: BTreeSet<_> = tags.iter().collect();
        let mut open: BTreeMap<&Digest, (&Quarantined, BTreeSet<Tag>)> = BTreeMap::new();
        for of in history.open_tags().into_iter().filter(|open| tags.contains(open.tag)) {
            for noted in of.records {
                let (_, named) = open.entry(&noted.id).or_insert((&noted.record, BTreeSet::new()));
                named.insert(of.tag.clone());
            }
        }
        let open = open.into_values();
        Self {
            open: open.map(|(record, tags)| Quarantined { tags, ..record.clone() }).collect(),
            outcomes: history.outcome_count(),
            is_cut,
            has_no_room: false,
        }
    }

    /// Returns those tags of a record that no open record of the same removal names. A tag that was
    /// removed for another reason before is recorded anew, because its old record says nothing of
    /// this removal.
    #[must_use]
    pub fn unrecorded(&self, record: &Quarantined) -> BTreeSet<Tag> {
        let same: Vec<_> = self.open.iter().filter(|open| open.is_as(record)).collect();
        let is_named = |tag: &&Tag| same.iter().any(|open| open.tags.contains(*tag));
        record.tags.iter().filter(|tag| !is_named(tag)).cloned().collect()
    }
}

/// A hold that keeps the tags of an image now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldInForce {
    /// The end of the hold.
    pub until: SystemTime,
    /// Who answers for it.
    pub owner: String,
    /// Why the image is needed.
    pub reason: String,
    /// Whether the hold is known to be ours.
    pub trust: Trust,
}

impl HoldInForce {
    /// Returns the hold that is in force now and lasts longest.
    #[must_use]
    pub fn of(history: &History, now: SystemTime, max_hold: Duration) -> Option<Self> {
        let hold = &history.hold(now, max_hold)?.record;
        Some(Self {
            until: hold.until,
            // Ours are no longer; those of others may be.
            owner: start(&hold.owner, LONGEST_NAME),
            reason: hold.reason.clone(),
            trust: history.trust(),
        })
    }
}

impl fmt::Display for HoldInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { until, owner, reason, trust } = self;
        let until = humantime::format_rfc3339_seconds(*until);
        write!(f, "held until {until} by {} ({})", escaped(owner, &[]), escaped(reason, &[]))?;
        match trust {
            Trust::Verified => Ok(()),
            Trust::NotVerified => f.write_str(" (not verified here)"),
        }
    }
}
