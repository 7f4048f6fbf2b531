//! Values that are read once for all callers, kept for a time, and renewed before that time ends.
//!
//! For each key there is one call at a time. Callers that ask meanwhile share its result, also if
//! it is a failure. In the last fifth of a value's life one caller makes the next call while all
//! others use the old value, so that nobody waits when a value grows too old. Only values are
//! remembered: after a failed call the next caller calls again.

use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::bounded::Slots;

/// A cache of values by key, each read by one call at a time.
#[derive(Debug)]
pub(super) struct SharedCache<K, V, E> {
    life: Duration,
    entries: Slots<K, Cached<V, E>>,
}

#[derive(Debug)]
struct Cached<V, E> {
    /// Held by the caller that makes the call.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<CallState<V, E>>,
}

#[derive(Debug)]
struct CallState<V, E> {
    /// The number of calls that have ended.
    ended: u64,
    kept: Option<Kept<V>>,
    /// The error of the last call, if it failed. It is only for callers that waited for that call.
    failure: Option<E>,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    renew_at: Instant,
    until: Instant,
}

/// What is kept for a key.
enum Lookup<V> {
    Fresh(V),
    /// It may be used, but it is time to renew it.
    Ageing(V),
    /// Nothing, after this many calls have ended.
    Nothing(u64),
}

impl<K: Clone + Eq + Hash, V: Clone, E: Clone> SharedCache<K, V, E> {
    /// Creates a cache that keeps each value for as long as `life`, and the values of about `most`
    /// keys.
    pub(super) fn new(life: Duration, most: usize) -> Self {
        let is_fresh = |entry: &Cached<V, E>| !matches!(entry.find(), Lookup::Nothing(_));
        Self { life, entries: Slots::new(most, is_fresh) }
    }

    /// Returns the value for this key: the one that is kept, or the result of `call` or of another
    /// caller's call.
    ///
    /// # Errors
    /// The error of the call that was waited for.
    pub(super) async fn get<F>(&self, key: &K, call: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let entry = self.entries.get(key, Cached::default);
        let before = match entry.find() {
            Lookup::Fresh(value) => return Ok(value),
            Lookup::Ageing(value) => {
                let Ok(_turn) = entry.turn.try_lock() else { return Ok(value) };
                return Ok(entry.call(self.life, call).await.unwrap_or(value));
            }
            Lookup::Nothing(ended) => ended,
        };
        let _turn = entry.turn.lock().await;
        match entry.since(before) {
            Some(result) => result,
            None => entry.call(self.life, call).await,
        }
    }
}

impl<V, E> Default for Cached<V, E> {
    fn default() -> Self {
        let state = CallState { ended: 0, kept: None, failure: None };
        Self { turn: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }
}

impl<V: Clone, E: Clone> Cached<V, E> {
    fn find(&self) -> Lookup<V> {
        let (state, now) = (self.lock(), Instant::now());
        match &state.kept {
            Some(kept) if now < kept.renew_at => Lookup::Fresh(kept.value.clone()),
            Some(kept) if now < kept.until => Lookup::Ageing(kept.value.clone()),
            _ => Lookup::Nothing(state.ended),
        }
    }

    /// Returns the result of the last call, if one ended since `before` calls had. A call that was
    /// broken off has no result.
    fn since(&self, before: u64) -> Option<Result<V, E>> {
        let state = self.lock();
        if state.ended == before {
            return None;
        }
        if let Some(error) = &state.failure {
            return Some(Err(error.clone()));
        }
        let kept = state.kept.as_ref().filter(|kept| Instant::now() < kept.until);
        kept.map(|kept| Ok(kept.value.clone()))
    }

    async fn call<F>(&self, life: Duration, call: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        // The age of a value counts from the beginning of its call, not from the answer.
        let began = Instant::now();
        // Boxed, because the SDK's futures are large.
        let result = Box::pin(call()).await;
        let mut state = self.lock();
        state.ended += 1;
        state.failure = result.as_ref().err().cloned();
        match &result {
            Ok(value) => {
                let renew_at = began + life.mul_f64(0.8);
                state.kept = Some(Kept { value: value.clone(), renew_at, until: began + life });
            }
            // Not renewed at once again, because then every caller would repeat the failing call.
            Err(_) => {
                if let Some(kept) = &mut state.kept {
                    let now = Instant::now();
                    kept.renew_at = now + kept.until.saturating_duration_since(now) / 2;
                }
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, CallState<V, E>> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const LIFE: Duration = Duration::from_secs(300);
    /// The duration of a call.
    const TAKES: Duration = Duration::from_secs(1);

    type Answer = Result<u32, &'static str>;

    /// A cache and the number of calls that have begun.
    struct Asked {
        cache: SharedCache<&'static str, u32, &'static str>,
        calls: Cell<u32>,
    }

    impl Asked {
        fn new() -> Self {
            Self { cache: SharedCache::new(LIFE, 3), calls: Cell::new(0) }
        }

        /// Returns the number of keys that are remembered.
        fn remembered(&self) -> usize {
            let mut remembered = 0;
            self.cache.entries.each(|_| remembered += 1);
            remembered
        }

        /// Asks for a key. The call returns its number, or fails.
        async fn get(&self, key: &'static str, fails: bool) -> Answer {
            let call = || async move {
                self.calls.set(self.calls.get() + 1);
                sleep(TAKES).await;
                if fails { Err("refused") } else { Ok(self.calls.get()) }
            };
            self.cache.get(&key, call).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_serves_all_who_wait_for_it_or_ask_later() {
        let asked = Asked::new();
        let answers = join_all((0..600).map(|_| asked.get("a", false))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)));
        assert_eq!(asked.get("a", true).await, Ok(1));
        assert_eq!(asked.calls.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn value_is_used_for_its_life_and_no_longer() {
        let asked = Asked::new();
        asked.get("a", false).await.unwrap();
        advance(LIFE - TAKES - Duration::from_millis(1)).await;
        assert_eq!(asked.get("a", true).await, Ok(1), "the renewal fails, the old value is used");
        assert_eq!(asked.get("a", true).await, Err("refused"), "a second older");
        assert_eq!(asked.calls.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn value_is_renewed_by_one_caller_while_the_others_use_it() {
        let asked = Asked::new();
        asked.get("a", false).await.unwrap();
        advance(LIFE.mul_f64(0.7)).await;
        assert_eq!(asked.get("a", false).await, Ok(1), "too early");
        advance(LIFE.mul_f64(0.2)).await;
        let at = Instant::now();
        let timed = || async { (asked.get("a", false).await, at.elapsed()) };
        let answers = join_all((0..600).map(|_| timed())).await;
        assert_eq!(answers[0], (Ok(2), TAKES));
        assert!(answers[1..].iter().all(|answer| *answer == (Ok(1), Duration::ZERO)));
        assert_eq!(asked.get("a", false).await, Ok(2));
        assert_eq!(asked.calls.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_renewal_is_not_repeated_by_every_caller() {
        let asked = Asked::new();
        asked.get("a", false).await.unwrap();
        advance(LIFE.mul_f64(0.9)).await;
        for _ in 0..100 {
            assert_eq!(asked.get("a", true).await, Ok(1));
        }
        assert_eq!(asked.calls.get(), 2);
        advance(LIFE.mul_f64(0.08)).await;
        assert_eq!(asked.get("a", false).await, Ok(3), "before its life ends");
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_shared_by_those_who_waited_and_not_remembered() {
        let asked = Asked::new();
        let answers = join_all((0..600).map(|_| asked.get("a", true))).await;
        assert!(answers.iter().all(|answer| *answer == Err("refused")));
        assert_eq!(asked.calls.get(), 1);
        assert_eq!(asked.get("a", false).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn next_waiting_caller_repeats_a_call_that_was_broken_off() {
        let asked = Asked::new();
        let broken_off = timeout(TAKES / 2, asked.get("a", false));
        let (first, second, third) =
            tokio::join!(broken_off, asked.get("a", false), asked.get("a", false));
        assert!(first.is_err());
        assert_eq!((second, third, asked.calls.get()), (Ok(2), Ok(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_do_not_wait_for_each_other_and_few_are_remembered() {
        let asked = Asked::new();
        let at = Instant::now();
        let keys = ["a", "b", "c", "d", "e"];
        join_all(keys.map(|key| asked.get(key, false))).await;
        assert_eq!(at.elapsed(), TAKES);
        assert_eq!(asked.remembered(), 5, "entries in use are kept");
        asked.get("f", false).await.unwrap();
        assert_eq!(asked.remembered(), 1);
        asked.get("g", false).await.unwrap();
        advance(LIFE / 2).await;
        asked.get("h", false).await.unwrap();
        advance(LIFE / 2).await;
        asked.get("i", false).await.unwrap();
        assert_eq!(asked.remembered(), 2, "old values give way first");
    }
}
