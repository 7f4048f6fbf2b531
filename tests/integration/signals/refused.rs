//! Denied access, and a deleted queue: the worker pauses, says so, and continues by itself when
//! access returns.

use aws_sim::{FaultRule, Service};
use futures_util::future::join_all;
use hyper::StatusCode;

use crate::process::{Worker, within_deadline};
use crate::world::{DEAD_LETTERS, QUEUE, World, assert_in_order, quarantine_tag};

/// The state of a paused worker: it is alive, and not ready for this reason.
async fn assert_paused(worker: &Worker, reason: &str) {
    let paused = (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    assert_eq!(worker.get("/readyz").await, paused);
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(worker.metric("tagwarden_paused").await, 1.0);
}

/// The state of a worker that has continued.
async fn assert_goes_on(worker: &Worker) {
    assert_eq!(worker.get("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(worker.metric("tagwarden_paused").await, 0.0);
}

/// Waits until the queue holds no more than this many messages.
async fn left(world: &World, messages: usize) {
    let left = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.len() <= messages);
    within_deadline("work to be done", left).await;
}

/// A refusal, and its expected consequences.
struct Refusal {
    rule: FaultRule,
    /// The log line of the pause, and its field `pause`.
    said: (&'static str, Option<&'static str>),
    reason: &'static str,
    /// The number of images. The fifth refusal in a row counts as a refusal by the whole registry.
    /// The messages before that one wait for their visibility timeout.
    images: usize,
    waiting: usize,
}

impl Refusal {
    async fn pauses_until_it_is_given_back(self) {
        let world = World::new().await;
        world.sim.set_faults(self.rule);
        let tags: Vec<_> = (0..self.images).map(|number| format!("v{number}")).collect();
        let digests: Vec<_> = tags.iter().map(|tag| world.violation(&[tag])).collect();
        let mut worker = world.worker().await;
        let (said, pause) = self.said;
        worker.logged(said, |line| pause.is_none_or(|pause| line["pause"] == pause)).await;
        assert_paused(&worker, self.reason).await;
        assert_eq!(world.sim.queue(QUEUE).messages.len(), self.images);

        world.sim.clear_faults();
        worker.logged("polling goes on", |_| true).await;
        left(&world, self.waiting).await;
        for message in world.sim.queue(QUEUE).messages {
            world.sim.make_visible(QUEUE, &message.id);
        }
        left(&world, 0).await;

        assert_goes_on(&worker).await;
        assert_eq!(world.sim.queue(DEAD_LETTERS).messages, []);
        for digest in &digests {
            assert_eq!(world.tags(digest), [quarantine_tag(digest)]);
        }
        assert_eq!(world.sim.notices(&world.topic).len(), self.images);
    }
}

#[tokio::test]
async fn denied_access_pauses_the_worker_until_it_is_restored() {
    let one = |operation: &str, code, said, reason| Refusal {
        rule: FaultRule::on(operation).error(code),
        said,
        reason,
        images: 1,
        waiting: 0,
    };
    let refused = "polling paused until the refused call succeeds";
    let cases = [
        one(
            "ReceiveMessage",
            "AccessDenied",
            ("cannot receive", None),
            "paused: the queue refuses access",
        ),
        one(
            "DeleteMessageBatch",
            "AccessDenied",
            (refused, Some("Settling")),
            "paused: the queue refuses to delete messages",
        ),
        one(
            "Publish",
            "AuthorizationError",
            (refused, Some("Topic")),
            "paused: every topic refuses notices",
        ),
        Refusal {
            rule: FaultRule::on_service(Service::Ecr).error("AccessDeniedException"),
            said: (refused, Some("Registry")),
            reason: "paused: the registry refuses every call",
            images: 5,
            waiting: 4,
        },
    ];
    join_all(cases.map(Refusal::pauses_until_it_is_given_back)).await;
}

#[tokio::test]
async fn recreated_queue_is_polled_again() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.called("ReceiveMessage").await;
    world.sim.delete_queue(QUEUE);
    let refused = |line: &serde_json::Value| line.to_string().contains("NonExistentQueue");
    worker.logged("cannot receive", refused).await;
    assert_paused(&worker, "paused: the queue refuses access").await;

    world.sim.create_queue_with_redrive(QUEUE, 2, &[]);
    // The pause ends with a receive that succeeds. On an empty queue that takes a whole long poll.
    let digest = world.violation(&["1.0"]);
    worker.logged("polling goes on", |_| true).await;
    assert_goes_on(&worker).await;
    worker.logged("assessed", |line| line["digest"] == digest.as_str()).await;
    world.assert_quarantined(&digest);
}

#[tokio::test]
async fn work_in_hand_finishes_although_its_queue_is_deleted() {
    let world = World::new().await;
    world.sim.set_faults(FaultRule::on("Publish").once().act(|sim| sim.delete_queue(QUEUE)));
    let digest = world.violation(&["1.0"]);
    let mut worker = world.worker().await;
    worker.logged("cannot settle; the message comes again", |_| true).await;
    worker.logged("cannot receive", |_| true).await;
    assert_paused(&worker, "paused: the queue refuses access").await;
    world.assert_quarantined(&digest);
    assert_in_order(&worker.stopped().await);
}
