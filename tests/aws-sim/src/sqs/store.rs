//! The messages of one queue, with what every receive asks about them kept at hand: no receive looks at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use super::Message;

/// The messages of a queue. Time does not go back: no step is given an earlier moment than the step before.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// By the order of arrival.
    by_slot: BTreeMap<u64, Message>,
    next: u64,
    by_age: BTreeSet<(SystemTime, u64)>,
    index: Index,
}

/// Which messages are visible, as far as time was looked at.
#[derive(Debug, Default)]
struct Index {
    visible: BTreeSet<u64>,
    /// The same by how often they were received.
    by_receives: BTreeSet<(u32, u64)>,
    /// The others by when they become visible.
    invisible: BTreeSet<(SystemTime, u64)>,
    /// How many of the others were received.
    in_flight: usize,
}

impl Index {
    fn enter(&mut self, slot: u64, message: &Message, now: SystemTime) {
        if message.visible_at <= now {
            self.visible.insert(slot);
            self.by_receives.insert((message.receive_count, slot));
        } else {
            self.invisible.insert((message.visible_at, slot));
            self.in_flight += usize::from(message.received_at.is_some());
        }
    }

    fn leave(&mut self, slot: u64, message: &Message) {
        if self.visible.remove(&slot) {
            self.by_receives.remove(&(message.receive_count, slot));
        } else {
            self.invisible.remove(&(message.visible_at, slot));
            self.in_flight -= usize::from(message.received_at.is_some());
        }
    }
}

impl Messages {
    pub(crate) fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// In order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.by_slot.values()
    }

    pub(crate) fn get(&self, slot: u64) -> Option<&Message> {
        self.by_slot.get(&slot)
    }

    pub(crate) fn push(&mut self, message: Message, now: SystemTime) {
        let slot = self.next;
        self.next += 1;
        self.by_age.insert((message.sent_at, slot));
        self.index.enter(slot, &message, now);
        self.by_slot.insert(slot, message);
    }

    pub(crate) fn remove(&mut self, slot: u64) -> Option<Message> {
        let message = self.by_slot.remove(&slot)?;
        self.by_age.remove(&(message.sent_at, slot));
        self.index.leave(slot, &message);
        Some(message)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// Changes a message, though not when it was sent.
    pub(crate) fn update(&mut self, slot: u64, now: SystemTime, act: impl FnOnce(&mut Message)) {
        if let Some(message) = self.by_slot.get_mut(&slot) {
            self.index.leave(slot, message);
            act(message);
            self.index.enter(slot, message, now);
        }
    }

    /// Changes every message in order of arrival, though not when it was sent.
    pub(crate) fn update_all(&mut self, now: SystemTime, mut act: impl FnMut(&mut Message)) {
        for (slot, message) in &mut self.by_slot {
            self.index.leave(*slot, message);
            act(message);
            self.index.enter(*slot, message, now);
        }
    }

    /// Drops what was sent so long ago.
    pub(crate) fn expire(&mut self, now: SystemTime, retention: Duration) {
        while let Some((sent_at, slot)) = self.by_age.first().copied()
            && sent_at + retention <= now
        {
            self.remove(slot);
        }
    }

    /// Takes out the visible messages that were received so often, in order of arrival.
    pub(crate) fn take_exhausted(&mut self, now: SystemTime, receives: u32) -> Vec<Message> {
        let exhausted = self.at(now).by_receives.range((receives, 0)..);
        let slots: BTreeSet<u64> = exhausted.map(|(_, slot)| *slot).collect();
        slots.into_iter().filter_map(|slot| self.remove(slot)).collect()
    }

    /// The visible messages' slots, in order of arrival.
    pub(crate) fn visible(&mut self, now: SystemTime) -> impl ExactSizeIterator<Item = u64> {
        self.at(now).visible.iter().copied()
    }

    /// How many were received and are invisible.
    pub(crate) fn in_flight(&mut self, now: SystemTime) -> usize {
        self.at(now).in_flight
    }

    /// How many are invisible and were not received.
    pub(crate) fn delayed(&mut self, now: SystemTime) -> usize {
        let index = self.at(now);
        index.invisible.len() - index.in_flight
    }

    /// When the next message becomes visible.
    pub(crate) fn next_visible(&self, now: SystemTime) -> Option<SystemTime> {
        let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        self.index.invisible.range(later).next().map(|(at, _)| *at)
    }

    /// The index as of now.
    fn at(&mut self, now: SystemTime) -> &Index {
        while let Some((at, slot)) = self.index.invisible.first().copied()
            && at <= now
        {
            self.update(slot, now, |_| ());
        }
        &self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn message(number: u64, sent_at: SystemTime, visible_at: SystemTime) -> Message {
        Message {
            id: number.to_string(),
            body: String::new(),
            attributes: BTreeMap::new(),
            system: BTreeMap::new(),
            sent_at,
            first_received_at: None,
            received_at: None,
            receive_count: 0,
            visible_at,
        }
    }

    /// The same messages without any index: whatever is asked, all of them are looked at.
    #[derive(Default)]
    struct Naive(BTreeMap<u64, Message>);

    impl Naive {
        fn picked(&self, pick: impl Fn(&Message) -> bool) -> Vec<u64> {
            self.0.iter().filter(|(_, message)| pick(message)).map(|(slot, _)| *slot).collect()
        }

        fn next_visible(&self, now: SystemTime) -> Option<SystemTime> {
            self.0.values().map(|message| message.visible_at).filter(|at| *at > now).min()
        }
    }

    fn ids<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<&'a str> {
        messages.into_iter().map(|message| message.id.as_str()).collect()
    }

    fn agree(messages: &mut Messages, naive: &Naive, now: SystemTime) {
        assert_eq!(messages.next_visible(now), naive.next_visible(now));
        let visible: Vec<u64> = messages.visible(now).collect();
        assert_eq!(visible, naive.picked(|message| message.visible_at <= now));
        assert_eq!(messages.in_flight(now), naive.picked(|message| message.in_flight(now)).len());
        assert_eq!(messages.delayed(now), naive.picked(|message| message.delayed(now)).len());
        assert_eq!(messages.next_visible(now), naive.next_visible(now));
        assert_eq!(messages.len(), naive.0.len());
        assert_eq!(ids(messages.iter()), ids(naive.0.values()));
    }

    /// Does one thing at random to both.
    fn step(
        rng: &mut fastrand::Rng,
        messages: &mut Messages,
        naive: &mut Naive,
        now: SystemTime,
        sent: &mut u64,
    ) {
        let seconds = Duration::from_secs(rng.u64(..20));
        let slot = rng.u64(..=*sent);
        match rng.u32(..100) {
            0..40 => {
                // One that comes from another queue is older than those before it.
                let age = Duration::from_secs(if rng.bool() { 0 } else { rng.u64(..50) });
                let delay = if rng.bool() { Duration::ZERO } else { seconds };
                let new = message(*sent, now - age, now + delay);
                messages.push(new.clone(), now);
                naive.0.insert(*sent, new);
                *sent += 1;
            }
            40..70 => {
                let slots: Vec<u64> = messages.visible(now).take(rng.usize(1..=10)).collect();
                for slot in slots {
                    messages.update(slot, now, |message| message.receive(now, seconds));
                    naive.0.get_mut(&slot).unwrap().receive(now, seconds);
                }
            }
            70..80 => {
                let (removed, expected) = (messages.remove(slot), naive.0.remove(&slot));
                assert_eq!(ids(&removed), ids(&expected));
            }
            80..85 => {
                messages.update(slot, now, |message| message.visible_at = now + seconds);
                naive.0.entry(slot).and_modify(|message| message.visible_at = now + seconds);
            }
            85..90 => {
                messages.expire(now, Duration::from_secs(60));
                naive.0.retain(|_, message| message.sent_at + Duration::from_secs(60) > now);
            }
            90..97 => {
                let receives = rng.u32(..4);
                let exhausted = |message: &Message| {
                    message.visible_at <= now && message.receive_count >= receives
                };
                let expected: Vec<_> = naive
                    .0
                    .extract_if(.., |_, message| exhausted(message))
                    .map(|(_, m)| m)
                    .collect();
                assert_eq!(ids(&messages.take_exhausted(now, receives)), ids(&expected));
            }
            97..99 => {
                let act = |message: &mut Message| {
                    if message.in_flight(now) {
                        message.visible_at = now;
                    }
                };
                messages.update_all(now, act);
                naive.0.values_mut().for_each(act);
            }
            _ => {
                messages.clear();
                naive.0.clear();
            }
        }
    }

    #[test]
    fn the_index_answers_as_a_look_at_all_messages_does() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut messages, mut naive) = (Messages::default(), Naive::default());
            let (mut now, mut sent) = (UNIX_EPOCH + Duration::from_secs(1_000), 0);
            for _ in 0..300 {
                if rng.u32(..4) == 0 {
                    now += Duration::from_secs(rng.u64(..5));
                }
                step(&mut rng, &mut messages, &mut naive, now, &mut sent);
                agree(&mut messages, &naive, now);
            }
        }
    }
}
