//! The process is killed at every one of its calls, with and without the call's effect, and fresh
//! processes bring what it began to the same end.
//!
//! Every call of an undisturbed run of a scene is a crash point. The runtime is dropped while that
//! call is in the service's hands; the messages come again in each of several ways; and a fresh
//! process runs until the queue is empty. The end has to be that of the undisturbed run: the same
//! tags and images, each notice at least once under its id, and no message left. All single crashes
//! are tried, and a sample of pairs.

mod check;
mod lives;
mod restores;
mod scenes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sim::Call;

use self::check::{Gap, compare};
use self::lives::{Crash, Record, Redelivery, run};
use self::scenes::Scene;

#[test]
fn a_crash_leaves_an_image_alone_that_its_event_clears() {
    every_crash_point(&scenes::CLEAN);
}

#[test]
fn a_crash_leaves_an_image_alone_that_a_look_clears() {
    every_crash_point(&scenes::CLEAN_BY_A_LOOK);
}

#[test]
fn a_crash_changes_nothing_for_two_tags() {
    every_crash_point(&scenes::TWO_TAGS);
}

#[test]
fn a_crash_changes_nothing_for_a_tag_with_a_protected_sibling() {
    every_crash_point(&scenes::PROTECTED_SIBLING);
}

#[test]
fn a_crash_changes_nothing_in_a_repository_without_the_blob_of_records() {
    every_crash_point(&scenes::NEW_REPOSITORY);
}

#[test]
fn a_crash_changes_nothing_where_records_are_signed() {
    every_crash_point(&scenes::SIGNED);
}

#[test]
fn a_crash_changes_nothing_where_the_repository_is_full() {
    every_crash_point(&scenes::FULL);
}

#[test]
fn a_crash_changes_nothing_where_the_image_is_to_be_deleted() {
    every_crash_point(&scenes::DELETE);
}

#[test]
fn a_crash_changes_nothing_for_an_index() {
    every_crash_point(&scenes::INDEX);
}

#[test]
fn a_crash_changes_nothing_for_an_index_in_an_index() {
    every_crash_point(&scenes::NESTED_INDEX);
}

#[test]
fn a_crash_changes_nothing_where_index_and_child_are_to_be_deleted() {
    every_crash_point(&scenes::INDEX_AND_CHILD_DELETED);
}

#[test]
fn a_crash_changes_nothing_where_there_is_only_a_notice_to_give() {
    every_crash_point(&scenes::NOTICE_ONLY);
}

#[test]
fn a_crash_changes_nothing_for_over_a_hundred_tags() {
    every_crash_point(&scenes::OVER_A_HUNDRED_TAGS);
}

#[test]
fn a_crash_in_audit_mode_changes_nothing() {
    every_crash_point(&scenes::AUDIT);
}

#[test]
fn a_crash_changes_nothing_where_findings_are_waited_for() {
    every_crash_point(&scenes::FINDINGS_PENDING);
}

#[test]
fn a_crash_keeps_no_topic_from_hearing() {
    every_crash_point(&scenes::SEVERAL_TOPICS);
}

#[test]
fn a_crash_changes_nothing_but_one_notice_where_the_event_has_no_digest() {
    every_crash_point(&scenes::NO_DIGEST);
}

#[test]
fn a_crash_changes_nothing_for_an_event_that_came_by_sns() {
    every_crash_point(&scenes::BY_SNS);
}

#[test]
fn a_crash_changes_nothing_where_an_image_has_more_tags_than_the_limit() {
    every_crash_point(&scenes::LIMITED);
}

#[test]
fn a_crash_changes_nothing_where_an_image_is_put_off() {
    every_crash_point(&scenes::PUT_OFF);
}

#[test]
fn a_crash_changes_nothing_for_an_archived_image() {
    every_crash_point(&scenes::ARCHIVED);
}

#[test]
fn a_crash_changes_nothing_where_the_mark_is_refused() {
    every_crash_point(&scenes::MARK_REFUSED);
}

#[test]
fn a_crash_changes_nothing_where_the_first_marks_are_on_another_image() {
    every_crash_point(&scenes::SQUAT);
}

#[test]
fn a_crash_changes_nothing_where_an_image_under_a_later_mark_is_to_be_deleted() {
    every_crash_point(&scenes::SQUAT_AND_DELETE);
}

#[test]
fn a_crash_changes_nothing_where_tags_are_immutable() {
    every_crash_point(&scenes::IMMUTABLE);
}

#[test]
fn a_crash_loses_of_an_over_reach_only_what_was_not_put_back_yet() {
    every_crash_point(&scenes::OVER_REACH);
}

#[test]
fn a_crash_leaves_only_tags_unnamed_that_the_event_does_not_name() {
    every_crash_point(&scenes::A_TAG_THAT_THE_EVENT_DOES_NOT_NAME);
}

#[test]
fn a_crash_changes_nothing_where_two_events_are_about_one_image() {
    every_crash_point(&scenes::TWO_EVENTS);
}

#[test]
fn a_crash_changes_nothing_where_two_events_are_about_one_image_to_be_deleted() {
    every_crash_point(&scenes::TWO_EVENTS_AND_DELETE);
}

#[test]
fn a_crash_changes_nothing_for_a_slice_of_a_sweep() {
    every_crash_point(&scenes::SLICE);
}

#[test]
fn a_crash_takes_no_image_from_a_copy_where_removals_are_repeated() {
    every_crash_point(&scenes::REPLICATED);
}

#[test]
fn a_crash_changes_nothing_where_tags_are_given_back() {
    every_crash_point(&restores::GIVEN_BACK);
}

#[test]
fn a_crash_changes_nothing_where_immutable_tags_are_given_back() {
    every_crash_point(&restores::IMMUTABLE);
}

#[test]
fn a_crash_changes_nothing_where_an_image_is_held() {
    every_crash_point(&restores::HELD);
}

#[test]
fn a_crash_changes_nothing_where_a_restore_is_refused() {
    every_crash_point(&restores::REFUSED);
}

#[test]
fn a_crash_changes_nothing_where_a_hold_is_withdrawn() {
    every_crash_point(&restores::WITHDRAWN);
}

fn every_crash_point(scene: &Scene) {
    let reference = run(scene, &[]).unwrap();
    assert_undisturbed(scene, &reference);
    let last = scene.last.and_then(|is_last| reference.calls.iter().position(is_last));
    let mut points = points(&reference.calls);
    points.retain(|point| last.is_none_or(|last| *point <= last));
    let mut tally = Tally {
        scene,
        reference: &reference,
        cases: 0,
        gaps: BTreeMap::new(),
        failures: Vec::new(),
    };
    // Each crash, and how many calls the life after it had.
    let mut crashes = Vec::new();
    for &call in &points {
        for kept in [false, true] {
            for then in Redelivery::ALL {
                let crash = Crash { call, kept, then };
                let calls = tally.case(&[crash]).filter(|calls| *calls > 0);
                crashes.extend(calls.map(|calls| (crash, calls)));
            }
        }
    }
    let single = tally.cases;
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..scene.pairs {
        let (first, calls) = crashes[rng.usize(..crashes.len())];
        let then = Redelivery::ALL[rng.usize(..Redelivery::ALL.len())];
        let second = Crash { call: rng.usize(..calls), kept: rng.bool(), then };
        tally.case(&[first, second]);
    }
    tally.report(points.len(), single);
}

/// The scene is what it is said to be.
fn assert_undisturbed(scene: &Scene, reference: &Record) {
    for notices in &reference.notices {
        let words: Vec<_> = notices.iter().map(|notice| &notice["action"]).collect();
        assert_eq!(words, scene.told, "{}", scene.name);
    }
    assert_eq!(reference.went.len(), scene.went, "{}: {:?}", scene.name, reference.went);
    assert_eq!(reference.dead_letters, 0, "{}", scene.name);
}

/// Every call, but of many receives in a row that find nothing only the first and the last.
fn points(calls: &[Call]) -> Vec<usize> {
    let is_idle = |at: usize| {
        calls.get(at).is_some_and(|call| {
            let reply = call.reply.as_ref();
            call.operation == "ReceiveMessage"
                && reply.is_some_and(|reply| reply["Messages"].is_null())
        })
    };
    let between = |at: usize| at > 0 && is_idle(at - 1) && is_idle(at) && is_idle(at + 1);
    (0..calls.len()).filter(|&at| !between(at)).collect()
}

/// What the cases of one scene came to.
struct Tally<'a> {
    scene: &'a Scene,
    reference: &'a Record,
    cases: usize,
    gaps: BTreeMap<Gap, usize>,
    failures: Vec<String>,
}

impl Tally<'_> {
    /// Tries one case; the number of calls of the life after the last crash.
    fn case(&mut self, crashes: &[Crash]) -> Option<usize> {
        self.cases += 1;
        let problems = match run(self.scene, crashes) {
            Ok(record) => match self.compare(crashes, &record) {
                Ok(()) => return Some(record.last_life),
                Err(problems) => problems,
            },
            Err(problem) => vec![problem],
        };
        let operation =
            |crash: &Crash| self.reference.calls.get(crash.call).map(|call| &call.operation);
        let first = crashes.first().and_then(operation);
        let some: Vec<_> = problems.into_iter().take(3).collect();
        self.failures.push(format!("{crashes:?} ({first:?}):\n    {}", some.join("\n    ")));
        None
    }

    fn compare(&mut self, crashes: &[Crash], record: &Record) -> Result<(), Vec<String>> {
        // Otherwise the points would not be those of the undisturbed run.
        let operations = |calls: &[Call]| -> Vec<_> {
            let upto = calls.iter().take(crashes[0].call + 1);
            upto.map(|call| call.operation.clone()).collect()
        };
        let (expected, found) = (operations(&self.reference.calls), operations(&record.calls));
        if expected != found {
            return Err(vec![format!(
                "the run went another way: {found:?} instead of {expected:?}"
            )]);
        }
        for gap in compare(self.scene, self.reference, record)? {
            *self.gaps.entry(gap).or_default() += 1;
        }
        Ok(())
    }

    fn report(&self, points: usize, single: usize) {
        static ALL: AtomicUsize = AtomicUsize::new(0);
        let all = ALL.fetch_add(self.cases, Ordering::Relaxed) + self.cases;
        let Self { scene, reference, cases, gaps, failures } = self;
        println!(
            "{}: {points} points of {} calls, {single} cases of one crash, {} of two; gaps {gaps:?}; {all} cases so far",
            scene.name,
            reference.calls.len(),
            cases - single,
        );
        let some: Vec<_> = failures.iter().take(4).cloned().collect();
        assert!(
            failures.is_empty(),
            "{} of {cases} differ, such as\n{}",
            failures.len(),
            some.join("\n")
        );
        for gap in scene.permits {
            assert!(
                gaps.contains_key(gap),
                "{}: {gap:?} is permitted and does not happen",
                scene.name
            );
        }
    }
}
