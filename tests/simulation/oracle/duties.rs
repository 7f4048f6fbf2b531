//! The duties that messages cause: invariants 1 and 2.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sim::{Call, RepoKey, Sim};

use super::{Oracle, is_mark};
use crate::events::Duty;
use crate::scene::{DEAD_LETTERS, Image, PROTECTED, QUEUE};

impl Oracle {
    /// The images that a message obliges the worker to act on: its own image, and the indexes on
    /// every level that are bad because of it. An index is judged alone, because the indexes that
    /// hold it were pushed after it and its images lead to them too.
    fn obliged(&self, duty: &Duty) -> Vec<Image> {
        let (Duty::Assess(image) | Duty::Resolve(image)) = duty else { return Vec::new() };
        if !image.is_bad_at(self.now) {
            return Vec::new();
        }
        let holders = image.holders.iter().filter(|_| !image.is_index);
        let holders = holders.filter_map(|digest| self.image(&image.repository, digest));
        let bad_by_it = |holder: &Image| Image { bad_from: image.bad_from, ..holder.clone() };
        std::iter::once(image.clone()).chain(holders.map(bad_by_it)).collect()
    }

    /// The tags that must be removed from an image. An index whose bad images somebody else deleted
    /// has none.
    fn left(&self, sim: &Sim, image: &Image) -> Vec<String> {
        let is_to_blame = |child: &&Image| {
            child.repository == image.repository
                && child.holders.contains(&image.digest)
                && child.is_bad_at(self.now)
                && sim.tags(&child.repository, &child.digest).is_some()
        };
        // If one of its images is missing, ECR accepts no mark on an index. The index is notified
        // as blocked.
        let is_missing = |child: &&Image| {
            child.repository == image.repository
                && child.holders.contains(&image.digest)
                && sim.tags(&child.repository, &child.digest).is_none()
        };
        let mut images = self.scene.images.values();
        let whole = !images.clone().any(|child| is_missing(&child));
        if image.is_index && !(whole && images.any(|child| is_to_blame(&child))) {
            return Vec::new();
        }
        let mut tags = sim.tags(&image.repository, &image.digest).unwrap_or_default();
        tags.retain(|tag| !tag.starts_with(PROTECTED) && !is_mark(tag, &image.digest));
        tags
    }

    /// Returns whether a tag was put on an image after a message about it was sent.
    ///
    /// What a worker read after a message was sent answers it, even if it was read before the
    /// message was received: by another message's assessment, or by a listing of the repository.
    /// Later tags may be missing there. Each is announced by an event of its own, whose message was
    /// sent together with the tag, so the tag is that message's duty.
    fn has_event_of_its_own(&self, image: &Image, tag: &str, sent_at: Duration) -> bool {
        let tagged = self.tagged.get(&(image.repository.clone(), tag.to_owned()));
        tagged.is_some_and(|at| *at > sent_at)
    }

    /// Returns whether a message without a digest that led to an image is to come again. Only the
    /// worker that removed tags for it knows their image: the known gap.
    pub(super) fn is_left_to_a_digestless(&self, (repository, digest): &(RepoKey, String)) -> bool {
        let left = self.duties.iter().filter(|(id, _)| !self.leases.is_gone(id));
        let resolve = left.filter(|(_, duty)| matches!(duty, Duty::Resolve(_)));
        let mut images = resolve.flat_map(|(_, duty)| self.obliged(duty));
        images.any(|image| image.repository == *repository && image.digest == *digest)
    }

    /// Invariant 1: every effect that a message requires has happened before the message is
    /// deleted.
    pub(super) fn deleted(&mut self, sim: &Sim, call: &Call) {
        let there: BTreeSet<_> =
            sim.queue(QUEUE).messages.into_iter().map(|message| message.id).collect();
        for (id, received_at) in self.leases.gone(call, &there) {
            let sent_at = self.sent_at.get(&id).copied().unwrap_or_default();
            self.count("messages deleted");
            let Some(duty) = self.duties.get(&id).cloned() else { continue };
            if duty == Duty::Poison {
                self.wrong(format!("2: poison {id} was deleted"));
            }
            for image in self.obliged(&duty) {
                let key = (&image.repository, image.digest.as_str());
                let others = self.duties.iter().filter(|(other, _)| there.contains(*other));
                let mut others = others.flat_map(|(_, duty)| self.obliged(duty));
                let in_other_hands = others.any(|other| {
                    other.repository == image.repository && other.digest == image.digest
                });
                // If somebody else deleted the image during the work, nobody needs a notice.
                let is_there = sim.tags(key.0, key.1).is_some();
                // The images that tags pointed to are checked at the end.
                let named = matches!(duty, Duty::Assess(_));
                // A worker that finds the mark for the first time leaves the notice to the worker
                // that removed the tags.
                let is_gap = self.gaps.contains(&(image.repository.clone(), image.digest.clone()));
                let is_missing = is_there && !is_gap && !self.notices.is_notified(key.0, key.1);
                if named && is_missing && !in_other_hands {
                    self.wrong(format!("1: {id} was deleted without a notice of {}", image.digest));
                }
                let touched = self.touched.get(key.0).is_some_and(|at| *at >= received_at);
                let stays = self.scene.settings.audit || self.scene.is_blocked(&image.repository);
                let due = image.is_bad_at(sent_at) && !touched && !stays;
                let mut left = self.left(sim, &image);
                left.retain(|tag| !self.has_event_of_its_own(&image, tag, sent_at));
                if due && matches!(duty, Duty::Assess(_)) && !left.is_empty() {
                    self.wrong(format!("1: {id} was deleted while {left:?} of {image:?} are left"));
                }
            }
        }
    }

    /// Invariant 2, and the end of the others: every message is done, or dead-lettered with its
    /// reason.
    pub fn conclude(&mut self, sim: &Sim, log: &str) {
        self.now = sim.age();
        let others = self.sweeps.published_by_others_too();
        self.counts.insert("sweeps of registries told with other numbers too", others);
        let dead: BTreeMap<_, _> = sim
            .queue(DEAD_LETTERS)
            .messages
            .into_iter()
            .map(|message| (message.id, message.body))
            .collect();
        for (id, duty) in self.duties.clone() {
            let is_dead = dead.contains_key(&id);
            if !is_dead && !self.leases.is_gone(&id) {
                self.wrong(format!("2: {id} is neither done nor dead-lettered: {duty:?}"));
            }
            if duty == Duty::Poison && !is_dead {
                self.wrong(format!("2: poison {id} is not dead-lettered"));
            }
            let said = log.lines().any(|line| line.contains(&id) && line.contains("goes_to"));
            if is_dead && !said && self.leases.was_in_hand(&id) {
                self.wrong(format!("2: {id} is dead-lettered, and no log line says why: {duty:?}"));
            }
            if is_dead && duty != Duty::Poison {
                self.count("good dead letters");
                if self.scene.settings.refused.is_some() {
                    self.wrong(format!("11: {id} is dead-lettered by a refusal: {duty:?}"));
                }
            }
        }
        let undone: BTreeSet<_> = self
            .duties
            .iter()
            .filter(|(id, _)| dead.contains_key(*id))
            .flat_map(|(_, duty)| self.obliged(duty))
            .map(|image| (image.repository, image.digest))
            .collect();
        for (id, duty) in self.duties.clone() {
            for image in self.obliged(&duty) {
                let sent_at = self.sent_at.get(&id).copied().unwrap_or_default();
                let key = (image.repository.clone(), image.digest.clone());
                // Only the worker that resolved the tags knows the images that they pointed to.
                let due = matches!(duty, Duty::Assess(_)) && image.is_bad_at(sent_at);
                let left = self.left(sim, &image);
                let stays = self.scene.settings.audit || self.scene.is_blocked(&image.repository);
                if due && !stays && !undone.contains(&key) && !left.is_empty() {
                    self.wrong(format!("2: {id} is done while {left:?} of {image:?} are left"));
                }
                let untouched = !self.touched.contains_key(&image.repository);
                if due && untouched && !undone.contains(&key) && stays {
                    let notified = self.notices.was_notified_of(&image.repository, &image.digest);
                    if !notified && !left.is_empty() {
                        self.wrong(format!("2: nobody was notified of {image:?}"));
                    }
                }
            }
        }
        for key in self.notices.not_notified() {
            if sim.tags(&key.0, &key.1).is_none() {
                self.count("deleted by others before it was told");
            } else if self.gaps.contains(&key) {
                self.count("known gap: digestless and untold");
            } else if !undone.contains(&key) {
                self.wrong(format!("2: tags of {key:?} were removed and nobody was notified"));
            }
        }
        for (key, tags) in self.notices.unnamed() {
            if !undone.contains(&key) {
                self.wrong(format!(
                    "2: {tags:?} of {key:?} were removed, and the worker knew but named none"
                ));
            }
        }
    }
}
