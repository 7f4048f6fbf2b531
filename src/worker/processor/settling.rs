//! How messages are settled: several by one call, or one by itself.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{ParsedMessage, Processor, ProcessorParts};
use crate::assess::Assessment;
use crate::aws::AwsError;
use crate::backoff::Retries;
use crate::health::Pause;
use crate::inspect::Urgency;
use crate::notify::Notifier;
use crate::outcome::{Disposition, Failure};
use crate::queue::{HeldLease, Queue, SettleError, Settlement};
use crate::registry::Registry;
use crate::telemetry::traces;
use crate::worker::permits::Permit;

impl<Q: Queue, R: Registry, N: Notifier> Processor<Q, R, N> {
    /// Deletes those messages of one receive whose events alone decide their outcomes, by one call.
    /// A message that cannot be deleted in this way is settled by itself.
    pub(in crate::worker) async fn settle_together(&self, mut done: Vec<(ParsedMessage, Permit)>) {
        let judged = Instant::now();
        let results = self.delete_together(&done).await;
        // Backwards, because the message that takes the place of a removed one must have been
        // handled before.
        for at in (0..done.len()).rev() {
            if let Some(Ok(())) = results.get(at) {
                let (one, _) = done.swap_remove(at);
                let result = one.fast_path.clone().ok_or(Failure::Abandoned);
                let assessment = Assessment { digests: one.named(), result };
                one.span.in_scope(|| {
                    self.measure(&one, judged - one.since);
                    self.complete(&one, &assessment, Disposition::Delete, &Ok(()));
                });
            }
        }
        let alone =
            done.into_iter().map(|(one, permit)| self.process(one, permit, Urgency::Queued));
        join_all(alone).await;
    }

    /// Returns one result for each message, or none at all if there is no more time to wait for
    /// them.
    async fn delete_together(&self, done: &[(ParsedMessage, Permit)]) -> Vec<Result<(), AwsError>> {
        let ProcessorParts { settler, visibility, health, shutdown, .. } = &self.shared;
        let spans: Vec<_> = done.iter().map(|(one, _)| traces::settle(&one.span)).collect();
        let messages: Vec<_> = done.iter().map(|(one, _)| &one.message).collect();
        let results = tokio::select! {
            biased;
            results = settler.delete_together(&messages, spans.clone(), *visibility) => results,
            () = shutdown.abandoned() => Vec::new(),
        };
        if results.iter().any(Result::is_ok) {
            health.resume(Pause::Settling);
        }
        results
    }

    /// Settles the message. If the queue refuses that, polling pauses, the lease is kept, and the
    /// settlement itself is the probe.
    pub(super) async fn settle(
        &self,
        lease: &mut HeldLease<'_>,
        settlement: Settlement,
    ) -> Result<(), SettleError> {
        let ProcessorParts { health, shutdown, .. } = &self.shared;
        let mut retries = Retries::of_refused_call();
        loop {
            let error = match lease.settle(settlement).await {
                // A queue that does not exist has no message left to settle.
                Err(SettleError::Refused(error)) if !error.is_missing_queue() => error,
                result => {
                    if result.is_ok() {
                        health.resume(Pause::Settling);
                    }
                    return result;
                }
            };
            health.pause(Pause::Settling, &error);
            if lease.run(retries.wait(shutdown)).await?.is_err() {
                return Err(SettleError::Refused(error));
            }
        }
    }
}
