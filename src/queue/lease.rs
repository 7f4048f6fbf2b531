//! The lease on one message: a pure state machine, and the shell that keeps it by heartbeat.
//!
//! A lease ends when the visibility timeout does, counted from the instant before the call that set it was sent,
//! less a margin. Work stops when it ends. Heartbeats end before the settle, and a lease is settled at most once.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument as _, Span};

use super::batch::Batcher;
use super::{Message, ReceiptHandle, Visibility};
use crate::aws::{AwsError, ErrorClass};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::traces;

/// Longest pause between two attempts to settle.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Ours; the next heartbeat is due at `beat`.
    Held { beat: Instant },
    /// Ours; a heartbeat was sent at `since` and is not answered yet.
    Extending { since: Instant },
    /// No longer ours: nothing may be done for it any more, not even settling.
    Lost,
    /// The settling is under way, or done.
    Settling,
}

/// What can happen to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The heartbeat was answered: extended.
    Extended,
    /// The heartbeat failed, and can be tried again.
    NotExtended,
    /// The heartbeat was answered: the queue knows no such lease.
    Gone,
    /// The work is done and the message is to be settled.
    Settle,
    /// The queue refused to settle it: nothing has happened, and it is to be kept.
    NotSettled,
    /// Nobody waits any longer for the answer to what was sent: it is as if nothing had been.
    LetGo,
}

/// What a lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing before this instant; then a tick.
    WaitUntil(Instant),
    /// Send a heartbeat.
    Extend,
    /// Settle the message now.
    Settle,
    /// The lease is over: stop.
    Stop,
}

/// The pure lease.
#[derive(Clone, Debug)]
pub struct Lease {
    phase: Phase,
    expires: Instant,
    visibility: Duration,
}

impl Lease {
    /// A lease that was taken at `from` for `visibility`.
    #[must_use]
    pub fn new(from: Instant, visibility: Duration) -> Self {
        let mut lease = Self { phase: Phase::Held { beat: from }, expires: from, visibility };
        lease.extend_from(from);
        lease
    }

    /// Takes one step. `now` never runs backwards.
    pub fn step(&mut self, now: Instant, input: Input) -> Output {
        if self.phase == Phase::Lost {
            return Output::Stop;
        }
        if now >= self.expires {
            self.phase = Phase::Lost;
            return Output::Stop;
        }
        match (self.phase, input) {
            (Phase::Extending { since }, Input::Extended) => self.extend_from(since),
            (Phase::Extending { .. }, Input::NotExtended) => {
                self.phase = Phase::Held { beat: now + self.visibility / 20 };
            }
            (_, Input::Gone) => {
                self.phase = Phase::Lost;
                return Output::Stop;
            }
            // A heartbeat that arrives after the settle would hide a message that was released, so its
            // answer is waited for.
            (Phase::Held { .. }, Input::Settle) => {
                self.phase = Phase::Settling;
                return Output::Settle;
            }
            (Phase::Settling, Input::NotSettled) | (_, Input::LetGo) => {
                self.phase = Phase::Held { beat: now };
            }
            (Phase::Settling, _) => return Output::Stop,
            (Phase::Held { beat }, Input::Tick) if now >= beat => {
                self.phase = Phase::Extending { since: now };
                return Output::Extend;
            }
            _ => {}
        }
        Output::WaitUntil(match self.phase {
            Phase::Held { beat } => beat.min(self.expires),
            _ => self.expires,
        })
    }

    fn extend_from(&mut self, since: Instant) {
        // What is begun at the last moment must still take effect inside the visibility timeout.
        let margin = (self.visibility / 10).min(Duration::from_secs(5));
        self.expires = since + self.visibility - margin;
        self.phase = Phase::Held { beat: since + self.visibility / 2 };
    }
}

/// The lease ended before its work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost: the message is visible to others again")]
pub struct LeaseLost;

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Delete it.
    Delete,
    /// Make it visible again after this long.
    Visible(Duration),
}

/// The two batchers by which leases are extended and settled.
#[derive(Clone, Debug)]
pub struct Settler {
    /// Deletes.
    pub deletes: Batcher<ReceiptHandle>,
    /// Extensions, and settlements that make visible.
    pub changes: Batcher<Visibility>,
}

/// A lease and the means to keep and settle it.
#[derive(Debug)]
pub struct HeldLease<'a> {
    lease: Lease,
    receipt: ReceiptHandle,
    settler: &'a Settler,
    instruments: &'a Instruments,
}

impl<'a> HeldLease<'a> {
    /// Holds the lease of a message just received.
    #[must_use]
    pub fn new(
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

    /// Runs `work` under heartbeat. A heartbeat in flight when the work ends is waited for.
    ///
    /// # Errors
    /// [`LeaseLost`] where the lease ended first; the work is dropped where it stands.
    pub async fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, LeaseLost> {
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
                Output::WaitUntil(instant) => instant,
                Output::Extend => {
                    let change = Visibility {
                        receipt: self.receipt.clone(),
                        timeout: self.lease.visibility,
                    };
                    heartbeat.set(Some(self.settler.changes.submit(change)).into());
                    self.lease.expires
                }
                Output::Settle | Output::Stop => {
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
                    output = Output::WaitUntil(self.lease.expires);
                    continue;
                }
                () = sleep_until(wake) => Input::Tick,
            };
            output = self.lease.step(Instant::now(), input);
        }
    }

    /// Gives up whatever is not answered yet, and makes the message visible instead, at the end of the time for work. A
    /// delete that took effect after all leaves nothing to make visible; a heartbeat that arrives later hides the message once
    /// more, as it would without this.
    ///
    /// # Errors
    /// As those of [`settle`](Self::settle).
    pub async fn release(&mut self) -> Result<(), SettleError> {
        self.lease.step(Instant::now(), Input::LetGo);
        self.settle(Settlement::Visible(Duration::ZERO)).await
    }

    /// Settles the message. What fails for now is tried again while the lease lasts.
    ///
    /// # Errors
    /// [`SettleError::Refused`]: nothing has happened; the lease can be kept by [`run`](Self::run) and settled later.
    /// Otherwise the message will become visible again by itself.
    pub async fn settle(&mut self, settlement: Settlement) -> Result<(), SettleError> {
        self.settle_in_span(settlement).instrument(traces::settle(&Span::current())).await
    }

    async fn settle_in_span(&mut self, settlement: Settlement) -> Result<(), SettleError> {
        if self.lease.step(Instant::now(), Input::Settle) != Output::Settle {
            return Err(SettleError::Lost(LeaseLost));
        }
        let mut pause = Duration::from_millis(200);
        loop {
            let result = match settlement {
                Settlement::Delete => self.settler.deletes.submit(self.receipt.clone()).await,
                Settlement::Visible(timeout) => {
                    let change = Visibility { receipt: self.receipt.clone(), timeout };
                    self.settler.changes.submit(change).await
                }
            };
            match result {
                Err(error)
                    if error.class.is_transient()
                        && Instant::now() + pause < self.lease.expires =>
                {
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
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

/// Why a message could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The lease was over.
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    /// The queue does not let us.
    #[error(transparent)]
    Refused(AwsError),
    /// The queue did not do it.
    #[error(transparent)]
    Aws(AwsError),
}

#[cfg(test)]
mod tests;
