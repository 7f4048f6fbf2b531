//! Sends the requests, and follows them until each is answered.
//!
//! Only so many requests are open at a time, because the worker refuses one that has waited for an
//! hour, and because a person who interrupts the command wants the rest left undone.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::info;

use super::Answer;
use super::asked::{Asked, AskedAll, End, Stage};
use super::request::{Chosen, Wish};
use crate::aws::{AwsError, ErrorClass};
use crate::backoff::{Backoff, Retries};
use crate::clock::Clock;
use crate::domain::names::joined;
use crate::domain::record::History;
use crate::inspect::CallPace;
use crate::queue::{NotSent, Outgoing, Queue};
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::sweep::{Advance, OnAdvance};
use crate::telemetry::logs::AUDIT;

/// The most requests without an answer while others wait to be sent.
const WINDOW: usize = 200;
/// The messages of one call (SQS API reference, SendMessageBatch).
const BATCH: usize = 10;
/// The images that are read at the same time.
const READS: usize = 8;
/// The pauses between two looks at the images that have no answer.
const LOOKS: Backoff = Backoff::new(Duration::from_millis(500), 2, Duration::from_secs(8));

/// The parts that ask.
#[derive(Debug)]
pub(crate) struct AskerParts<Q, R> {
    /// The worker's queue.
    pub queue: Q,
    /// Reads the answers.
    pub registry: R,
    /// The pace of the calls that read.
    pub pace: CallPace,
    /// Stops the work at a signal.
    pub shutdown: Shutdown,
    /// Says which holds are in force.
    pub clock: Clock,
    /// How long to wait for a further answer. `None` means that answers are not waited for.
    pub patience: Option<Duration>,
}

/// Asks the worker about images.
#[derive(Debug)]
pub(crate) struct Asker<Q, R> {
    parts: AskerParts<Q, R>,
    all: AskedAll,
}

impl<Q: Queue, R: Registry> Asker<Q, R> {
    /// Prepares to ask about these images.
    #[must_use]
    pub(crate) fn new(parts: AskerParts<Q, R>, all: AskedAll) -> Self {
        Self { parts, all }
    }

    /// Asks about all images and waits for the answers, or until the process is told to stop.
    pub(crate) async fn run(mut self, on: OnAdvance<'_>) -> AskedAll {
        on(Advance::More(self.all.askable().count()));
        let (mut looks, mut last_answer) = (Retries::new(LOOKS), Instant::now());
        loop {
            self.send().await;
            let patience = self.parts.patience.filter(|_| self.all.is_waiting());
            let Some(patience) = patience else { break };
            if looks.wait(&self.parts.shutdown).await.is_err() {
                self.all.end.get_or_insert(End::Interrupted);
                break;
            }
            let Look { answered, failed } = self.look(on).await;
            if let Some(error) = failed.as_ref().filter(|error| error.class.is_refusal()) {
                self.all.end.get_or_insert(End::Unreadable(described(error)));
                break;
            }
            if answered > 0 {
                looks.succeeded();
                last_answer = Instant::now();
            } else if last_answer.elapsed() >= patience {
                let failed = failed.as_ref().map(described);
                self.all.end.get_or_insert(End::NoAnswer { patience, failed });
                break;
            }
        }
        self.all
    }

    /// Sends as many messages as may be open, unless something has ended the work.
    async fn send(&mut self) {
        while self.all.end.is_none() {
            let AskedAll { wish, images, end } = &mut self.all;
            let open = images.iter().filter(|one| one.stage == Stage::Sent).count();
            if self.parts.patience.is_some() && open >= WINDOW {
                return;
            }
            let due = images.iter_mut().filter(|one| one.is_due());
            let mut batch: Vec<_> = due.take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            if self.parts.shutdown.is_draining() {
                *end = Some(End::Interrupted);
                return;
            }
            let now = |body| Outgoing { body, delay: Duration::ZERO };
            let messages: Vec<_> = batch.iter().map(|one| now(one.body(wish))).collect();
            batch.iter().for_each(|one| audit(one, wish));
            let sent = self.parts.queue.send(&messages).await;
            let problem = sent.as_ref().err().map(|NotSent { error, .. }| not_sent(error));
            let left = sent.err().map(|error| error.left).unwrap_or_default();
            for (at, one) in batch.iter_mut().enumerate() {
                one.stage = match &problem {
                    Some(problem) if left.contains(&at) => Stage::NotSent(problem.clone()),
                    _ => Stage::Sent,
                };
            }
            *end = problem.map(End::NotSent);
        }
    }

    /// Reads the records of every image that has no answer.
    async fn look(&mut self, on: OnAdvance<'_>) -> Look {
        let Self { parts, all: AskedAll { wish, images, .. } } = self;
        let (parts, wish) = (&*parts, &*wish);
        let waiting = images.iter_mut().filter(|one| one.stage == Stage::Sent);
        let reads = waiting.map(|one| async move {
            let read = parts.answer(one, wish).await;
            (one, read)
        });
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        let mut look = Look::default();
        while let Some((one, read)) = reads.next().await {
            match read {
                Ok(Some(answer)) => {
                    one.stage = Stage::Answered(answer);
                    look.answered += 1;
                    on(Advance::Image);
                }
                Ok(None) => {}
                Err(error) => look.failed = Some(error),
            }
            let is_refused = look.failed.as_ref().is_some_and(|error| error.class.is_refusal());
            if is_refused || parts.shutdown.is_draining() {
                break;
            }
        }
        look
    }
}

impl<Q, R: Registry> AskerParts<Q, R> {
    /// Returns the answer to a request, if there is one yet.
    async fn answer(&self, asked: &Asked, wish: &Wish) -> Result<Option<Answer>, AwsError> {
        let Chosen { repository, digest, .. } = &asked.chosen;
        self.pace.wait().await;
        let referrers = self.registry.referrers(repository, digest).await?;
        let history = History::read(repository, digest, referrers.artifacts, None);
        Ok(Answer::of(&history, &asked.request, wish, self.clock.now()))
    }
}

/// What one look at the images has shown.
#[derive(Debug, Default)]
struct Look {
    answered: usize,
    /// The last call that failed.
    failed: Option<AwsError>,
}

/// Notes what is asked for before it is sent, because the process may die before it could do so
/// later.
fn audit(asked: &Asked, wish: &Wish) {
    let Asked { chosen, request, .. } = asked;
    let (asks, until, reason, owner) = match wish {
        Wish::GiveBack => ("give back", None, None, None),
        Wish::Hold { until, reason, owner } => {
            let until = humantime::format_rfc3339_seconds(*until).to_string();
            ("give back and hold", Some(until), Some(reason), Some(owner))
        }
        Wish::Withdraw => ("end the hold", None, None, None),
    };
    let tags: Vec<_> = chosen.tags.iter().cloned().collect();
    info!(
        target: AUDIT,
        request,
        account = %chosen.repository.account,
        region = %chosen.repository.region,
        repository = %chosen.repository.name,
        digest = %chosen.digest,
        tags = joined(&tags),
        asks,
        until,
        reason,
        owner,
        "asking the worker"
    );
}

fn not_sent(error: &AwsError) -> String {
    let unsure = match error.class {
        ErrorClass::Timeout | ErrorClass::Connection => {
            " (the message may have been sent all the same; sending it twice does nothing twice)"
        }
        _ => "",
    };
    format!("{}{unsure}", described(error))
}

fn described(error: &AwsError) -> String {
    format!("{error}{}", error.advice())
}
