//! The lease on one message: a pure state machine, `Lease`, and the shell that keeps it by
//! heartbeat, [`HeldLease`].
//!
//! A received message is invisible to other workers until its visibility timeout ends. A lease
//! counts that timeout from the instant before the call that set it was sent, because SQS may have
//! started the clock at any moment of the call, and ends a margin earlier, so that a call at the
//! last moment still takes effect in time.
//!
//! - Work runs under a heartbeat, which is sent at half of the timeout. When the lease ends, the
//!   work is dropped, because another worker may have the message already.
//! - Settling means to delete the message or to make it visible again. No heartbeat is in flight
//!   when it begins: a late heartbeat would hide a message that was just released.
//! - A failed settlement is repeated here, while the lease lasts, and never by the SDK, so that no
//!   attempt begins after the lease has ended.
//! - A settlement without an answer at the end of the time for work is abandoned, and the message
//!   is made visible. If the delete took effect, there is nothing to make visible; if not, the next
//!   task gets the message at once instead of after the timeout.
//!
//! Invariant 9: no call that changes anything starts outside its lease, heartbeats end before the
//! settlement, and a lease is settled at most once but for that last case. The tests of the pure
//! machine try every sequence of inputs up to a depth; that is why it takes the time as an argument
//! and makes no call.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument as _, Span};

use super::batch::Batcher;
use super::{Message, ReceiptHandle, Visibility};
use crate::aws::{AwsError, ErrorClass};
use crate::backoff::{Backoff, Retries};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::traces;

/// The pauses between attempts to settle.
const UNANSWERED: Backoff = Backoff::new(Duration::from_millis(200), 2, Duration::from_secs(5));

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The lease is ours; the next heartbeat is due at `beat`.
    Held { beat: Instant },
    /// The lease is ours; a heartbeat was sent at `since` and has no answer yet.
    Extending { since: Instant },
    /// The lease is not ours any longer: nothing may be done for it, not even a settlement.
    Lost,
    /// A settlement is under way or done.
    Settling,
}

/// An event in the life of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Time has passed.
    Tick,
    /// The heartbeat was answered: the lease is extended.
    Extended,
    /// The heartbeat failed and can be repeated.
    NotExtended,
    /// The heartbeat was answered: the queue knows no such lease.
    Gone,
    /// The work is done; the message is to be settled.
    Settle,
    /// The queue refused the settlement: nothing has happened, and the lease is kept.
    NotSettled,
    /// Nobody waits for the answer to the last call any longer: the lease goes on as if the call
    /// had not been made.
    LetGo,
}

/// The next action that a lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseOutput {
    /// Do nothing before this instant; then tick.
    WaitUntil(Instant),
    /// Send a heartbeat.
    Extend,
    /// Settle the message now.
    Settle,
    /// The lease is over: stop.
    Stop,
}

/// The pure lease: it knows the time only from its inputs.
#[derive(Clone, Debug)]
struct Lease {
    phase: Phase,
    expires: Instant,
    visibility: Duration,
}

impl Lease {
    /// Creates a lease that was taken at `from` for `visibility`.
    #[must_use]
    fn new(from: Instant, visibility: Duration) -> Self {
        let mut lease = Self { phase: Phase::Held { beat: from }, expires: from, visibility };
        lease.extend_from(from);
        lease
    }

    /// Takes one step and returns the next action. `now` never runs backwards.
    fn step(&mut self, now: Instant, input: Input) -> LeaseOutput {
        if self.phase == Phase::Lost {
            return LeaseOutput::Stop;
        }
        if now >= self.expires {
            self.phase = Phase::Lost;
            return LeaseOutput::Stop;
        }
        match (self.phase, input) {
            (Phase::Extending { since }, Input::Extended) => self.extend_from(since),
            (Phase::Extending { .. }, Input::NotExtended) => {
                self.phase = Phase::Held { beat: now + self.visibility / 20 };
            }
            (_, Input::Gone) => {
                self.phase = Phase::Lost;
                return LeaseOutput::Stop;
            }
            // A settlement is accepted only when no heartbeat is in flight, because a heartbeat
            // that arrives after it would hide a message that was released.
            (Phase::Held { .. }, Input::Settle) => {
                self.phase = Phase::Settling;
                return LeaseOutput::Settle;
            }
            (Phase::Settling, Input::NotSettled) | (_, Input::LetGo) => {
                self.phase = Phase::Held { beat: now };
            }
            (Phase::Settling, _) => return LeaseOutput::Stop,
            (Phase::Held { beat }, Input::Tick) if now >= beat => {
                self.phase = Phase::Extending { since: now };
                return LeaseOutput::Extend;
            }
            _ => {}
        }
        LeaseOutput::WaitUntil(match self.phase {
            Phase::Held { beat } => beat.min(self.expires),
            _ => self.expires,
        })
    }

    fn extend_from(&mut self, since: Instant) {
        // A call that starts at the last moment must still take effect inside the visibility
        // timeout.
        let margin = (self.visibility / 10).min(Duration::from_secs(5));
        self.expires = since + self.visibility - margin;
        self.phase = Phase::Held { beat: since + self.visibility / 2 };
    }
}

/// The lease ended before its work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost: the message is visible to others again")]
pub(crate) struct LeaseLost;

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Delete it.
    Delete,
    /// Make it visible again after this long.
    Visible(Duration),
}

/// The two batchers that carry extensions and settlements.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    /// Carries deletes.
    pub deletes: Batcher<ReceiptHandle>,
    /// Carries extensions, and settlements that make messages visible.
    pub changes: Batcher<Visibility>,
}

impl Settler {
    /// Deletes messages of one receive by one call, each on behalf of a span.
    ///
    /// Messages of one receive are leased from the same instant, so one lease stands for all.
    /// Returns a result for each message, in order; none if the lease has ended, and then nothing
    /// was called.
    pub(crate) async fn delete_together(
        &self,
        messages: &[&Message],
        spans: Vec<Span>,
        visibility: Duration,
    ) -> Vec<Result<(), AwsError>> {
        let Some(first) = messages.first() else { return Vec::new() };
        let mut lease = Lease::new(first.leased_from, visibility);
        if lease.step(Instant::now(), Input::Settle) != LeaseOutput::Settle {
            return Vec::new();
        }
        let receipts = messages.iter().map(|message| message.receipt.clone()).collect();
        self.deletes.submit_all(receipts, spans).await
    }
}

/// A lease and the means to keep and settle it.
#[derive(Debug)]
pub(crate) struct HeldLease<'a> {
    lease: Lease,
    receipt: ReceiptHandle,
    settler: &'a Settler,
    instruments: &'a Instruments,
}

impl<'a> HeldLease<'a> {
    /// Creates the lease of a message that was just received.
    #[must_use]
    pub(crate) fn new(
        message: &Message,
        visibility: Duration,
        settler: &'a Settler,
        instruments: &'a Instruments,
    ) -> Self {
        Self {
            lease: Lease::new(message.leased_from, visibility),
            receipt: message.receipt.clone(),
            settler,
            instruments,
        }
    }

    /// Runs `work` under heartbeat. When the work ends while a heartbeat is in flight, waits for
    /// its answer.
    ///
    /// # Errors
    /// Returns [`LeaseLost`] if the lease ends first; the work is then dropped where it is.
    pub(crate) async fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, LeaseLost> {
        let mut work = pin!(work);
        let mut done = None;
        let mut heartbeat = pin!(OptionFuture::from(None));
        let mut output = self.lease.step(Instant::now(), Input::Tick);
        loop {
            if matches!(self.lease.phase, Phase::Held { .. })
                && let Some(value) = done
            {
                return Ok(value);
            }
            let wake = match output {
                LeaseOutput::WaitUntil(instant) => instant,
                LeaseOutput::Extend => {
                    let change = Visibility {
                        receipt: self.receipt.clone(),
                        timeout: self.lease.visibility,
                    };
                    heartbeat.set(Some(self.settler.changes.submit(change)).into());
                    self.lease.expires
                }
                LeaseOutput::Settle | LeaseOutput::Stop => {
                    self.instruments.lease_lost();
                    return Err(LeaseLost);
                }
            };
            let input = tokio::select! {
                biased;
                Some(result) = &mut heartbeat => {
                    heartbeat.set(None.into());
                    self.instruments.lease_extended(result.is_ok());
                    match result {
                        Ok(()) => Input::Extended,
                        Err(error) if error.class == ErrorClass::Rejected => Input::Gone,
                        Err(_) => Input::NotExtended,
                    }
                }
                value = &mut work, if done.is_none() => {
                    done = Some(value);
                    output = LeaseOutput::WaitUntil(self.lease.expires);
                    continue;
                }
                () = sleep_until(wake) => Input::Tick,
            };
            output = self.lease.step(Instant::now(), input);
        }
    }

    /// Abandons the calls that have no answer yet and makes the message visible instead, at the end
    /// of the time for work. If an abandoned delete took effect after all, there is nothing to make
    /// visible. A heartbeat that arrives later hides the message once more, as it would without
    /// this call.
    ///
    /// # Errors
    /// Returns the errors of [`settle`](Self::settle).
    pub(crate) async fn release(&mut self) -> Result<(), SettleError> {
        self.lease.step(Instant::now(), Input::LetGo);
        self.settle(Settlement::Visible(Duration::ZERO)).await
    }

    /// Settles the message. A transient failure is retried while the lease lasts.
    ///
    /// # Errors
    /// Returns [`SettleError::Refused`] if nothing has happened: [`run`](Self::run) can keep the
    /// lease, and the message can be settled later. After any other error the message becomes
    /// visible again by itself.
    pub(crate) async fn settle(&mut self, settlement: Settlement) -> Result<(), SettleError> {
        self.settle_in_span(settlement).instrument(traces::settle(&Span::current())).await
    }

    async fn settle_in_span(&mut self, settlement: Settlement) -> Result<(), SettleError> {
        if self.lease.step(Instant::now(), Input::Settle) != LeaseOutput::Settle {
            return Err(SettleError::Lost(LeaseLost));
        }
        let mut retries = Retries::new(UNANSWERED);
        loop {
            let result = match settlement {
                Settlement::Delete => self.settler.deletes.submit(self.receipt.clone()).await,
                Settlement::Visible(timeout) => {
                    let change = Visibility { receipt: self.receipt.clone(), timeout };
                    self.settler.changes.submit(change).await
                }
            };
            let pause = retries.failed();
            match result {
                Err(error)
                    if error.class.is_transient()
                        && Instant::now() + pause < self.lease.expires =>
                {
                    sleep(pause).await;
                }
                Err(error) if error.class.is_refusal() => {
                    self.lease.step(Instant::now(), Input::NotSettled);
                    return Err(SettleError::Refused(error));
                }
                result => return result.map_err(SettleError::Aws),
            }
        }
    }
}

/// The reason why a message could not be settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    /// The lease had ended.
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    /// The queue refuses the settlement: permissions or credentials are missing.
    #[error(transparent)]
    Refused(AwsError),
    /// The settlement failed in any other way.
    #[error(transparent)]
    Aws(AwsError),
}

#[cfg(test)]
mod tests;
