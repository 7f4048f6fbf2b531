//! SIGTERM and SIGKILL at every call of a run, polls included.

use std::fmt;
use std::panic::AssertUnwindSafe;

use aws_sim::{Fault, FaultRule};
use futures_util::stream::iter;
use futures_util::{FutureExt as _, StreamExt as _};

use super::scenario::{Reference, Scenario};
use crate::process::{Signal, Worker};
use crate::world::assert_in_order;

/// The fate of the call that is in the service's hands when the signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is answered after the worker has seen the signal.
    Comes,
    /// It has no effect and is never answered.
    Lost,
    /// It has its effect and is never answered.
    LostWithEffect,
}

/// A signal during one call of a run.
#[derive(Clone, Copy)]
struct Case<'a> {
    reference: &'a Reference,
    call: usize,
    answer: Answer,
    signal: Signal,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, call, answer, .. } = self;
        let operation = &reference.calls[*call].operation;
        write!(
            f,
            "{} in hand, call {call} ({operation} undisturbed): {answer:?}",
            reference.max_in_flight
        )
    }
}

impl Case<'_> {
    /// A worker whose call is in the service's hands.
    async fn begin(&self) -> (Scenario, Worker) {
        let scenario = Scenario::new(self.reference.max_in_flight).await;
        let rule = FaultRule::always().skip(self.call).once();
        let shut = scenario.gate.open.clone();
        scenario.world.sim.set_faults(match self.answer {
            Answer::Comes => rule.act(move |_| {
                shut.send_replace(false);
            }),
            Answer::Lost => rule.hang(),
            Answer::LostWithEffect => rule.fault(Fault::HangAfter),
        });
        let worker = Worker::start(&scenario.world.variables).await;
        scenario.in_hand(self.call).await;
        (scenario, worker)
    }

    async fn run(self) {
        match self.signal {
            Signal::KILL => self.killed().await,
            _ => self.stopped().await,
        }
    }

    async fn stopped(self) {
        let (scenario, mut worker) = self.begin().await;
        worker.signal(Signal::TERM);
        worker.logged("stopping: no new messages; work in hand goes on", |_| true).await;
        scenario.gate.open.send_replace(true);

        let ended = worker.ended().await;
        assert_in_order(&ended);
        let abandoned = scenario.abandoned_receives();
        assert_eq!(abandoned, 0, "{self}: receives that may still take a message");
        // The only exception: messages that a receive handed out in an answer that never arrives
        // cannot be released, because nobody has their receipt handles. They are delivered again
        // when their visibility timeout passes.
        let lost = match self.answer {
            Answer::LostWithEffect => scenario.handed_out(self.call),
            Answer::Comes | Answer::Lost => 0,
        };
        let invisible = scenario.in_flight();
        assert_eq!(invisible.len(), lost, "{self}: {:#?}", scenario.queue());
        scenario.assert_deleted_only_when_done();
        scenario.finish(&invisible).await;
        scenario.assert_ends_like(self.reference);
    }

    async fn killed(self) {
        let (scenario, worker) = self.begin().await;
        worker.signal(Signal::KILL);

        assert_eq!(worker.ended().await.code, None);
        scenario.assert_deleted_only_when_done();
        scenario.finish(&scenario.in_flight()).await;
        scenario.assert_ends_like(self.reference);
    }
}

/// Runs a case for every call of an undisturbed run, several in parallel, and reports the failing
/// ones: first with one message in hand at a time, then with both.
async fn at_every_call(signal: Signal, answer: Answer, side_by_side: usize) {
    let mut failed = Vec::new();
    let mut cases = 0;
    for max_in_flight in [1, 2] {
        let reference = &Scenario::undisturbed(max_in_flight).await;
        let runs = iter(0..reference.calls.len()).map(|call| async move {
            let case = Case { reference, call, answer, signal };
            let ended = AssertUnwindSafe(case.run()).catch_unwind().await;
            ended.is_err().then(|| case.to_string())
        });
        let ended: Vec<_> = runs.buffer_unordered(side_by_side).collect().await;
        cases += ended.len();
        failed.extend(ended.into_iter().flatten());
    }
    println!("{signal:?}, {answer:?}: {cases} cases");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn stop_signal_during_an_answered_call_strands_nothing() {
    at_every_call(Signal::TERM, Answer::Comes, 6).await;
}

#[tokio::test]
async fn stop_signal_during_a_call_without_effect_or_answer_strands_nothing() {
    at_every_call(Signal::TERM, Answer::Lost, 16).await;
}

#[tokio::test]
async fn stop_signal_during_a_call_with_effect_but_no_answer_strands_nothing() {
    at_every_call(Signal::TERM, Answer::LostWithEffect, 16).await;
}

#[tokio::test]
async fn kill_during_a_call_without_effect_loses_nothing() {
    at_every_call(Signal::KILL, Answer::Lost, 6).await;
}

#[tokio::test]
async fn kill_during_a_call_with_effect_loses_nothing() {
    at_every_call(Signal::KILL, Answer::LostWithEffect, 6).await;
}
