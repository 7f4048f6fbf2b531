//! Liveness fails in bounded time if the polling loop hangs, and never if the queue is empty,
//! failing, or deliberately left alone.

use std::future::pending;
use std::time::Duration;

use aws_sim::{FaultRule, ScanResult, Service};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::service::Service as _;
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tagwarden::app::App;
use tagwarden::config::{Settings, Sources};
use tagwarden::shutdown::Shutdown;
use tokio::time::{Instant, sleep};

use super::support::{QUEUE, World, basic, quarantine, without_policy};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest time that a hanging loop counts as alive: the longest wait of a receive and its
/// allowance.
const LIMIT: Duration = Duration::from_secs(20 + 55);

async fn get(app: &App, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    let response = TowerToHyperService::new(app.router()).call(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (status, if path == "/readyz" { without_policy(&text) } else { text })
}

/// Checks every second, for this time, that the worker is alive.
async fn assert_alive_for(app: &App, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(SECOND).await;
        assert_eq!(get(app, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    }
}

async fn assert_ready(app: &App) {
    assert_eq!(get(app, "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
}

/// Timers of the AWS SDK that never fire.
#[derive(Debug)]
struct NeverOver;

impl AsyncSleep for NeverOver {
    fn sleep(&self, _: Duration) -> Sleep {
        Sleep::new(pending())
    }
}

/// A worker whose calls are not ended by any timeout of the SDK.
fn without_timeouts(world: &World) -> App {
    let environment = [
        ("TAGWARDEN__POLICY__MODE", "enforce".to_owned()),
        ("TAGWARDEN__QUEUE__URL", world.sim.create_queue(QUEUE, &[])),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", world.topic.clone()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let settings = Settings::load(&Sources { file: None, environment }).unwrap();
    let sdk = world.sim.sdk_config().to_builder().sleep_impl(NeverOver).build();
    App::new(settings, &sdk).unwrap()
}

#[tokio::test(start_paused = true)]
async fn permanently_hanging_receive_fails_liveness_in_bounded_time() {
    let world = World::new();
    let app = without_timeouts(&world);
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        world.sim.set_faults(FaultRule::on_service(Service::Sqs).hang());
        let hung = world.sim.calls_of("ReceiveMessage").len();
        world.sim.wait_until(|sim| sim.calls_of("ReceiveMessage").len() > hung).await;
        assert_alive_for(&app, LIMIT - SECOND).await;
        sleep(2 * SECOND).await;
        let (status, why) = get(&app, "/healthz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.starts_with("the polling loop has not completed a turn for 7"), "{why}");
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn empty_queue_never_fails_liveness() {
    let world = World::new();
    let app = world.app();
    let test = async {
        assert_alive_for(&app, 60 * MINUTE).await;
        assert_ready(&app).await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failing_receives_never_fail_liveness() {
    for fault in ["ServiceUnavailable", "ThrottlingException", "AccessDenied"] {
        let world = World::new();
        let app = world.app();
        let test = async {
            world.sim.set_faults(FaultRule::on("ReceiveMessage").error(fault));
            assert_alive_for(&app, 60 * MINUTE).await;
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn silent_endpoint_fails_liveness_in_bounded_time() {
    let world = World::new();
    let app = world.app();
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        world.sim.set_faults(FaultRule::on_service(Service::Sqs).hang());
        // Each receive times out after half a minute and is sent again.
        assert_alive_for(&app, 3 * MINUTE - 20 * SECOND).await;
        sleep(40 * SECOND).await;
        assert_eq!(get(&app, "/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        sleep(60 * MINUTE).await;
        assert_eq!(get(&app, "/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        world.sim.clear_faults();
        let digest = world.violating(&["1.0"]);
        world.done().await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        assert_alive_for(&app, MINUTE).await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn single_unanswered_receives_never_fail_liveness() {
    let world = World::new();
    let app = world.app();
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        let every_other = |at: usize| FaultRule::on("ReceiveMessage").skip(at).once().hang();
        world.sim.set_faults((0..100).step_by(2).map(every_other).collect::<Vec<_>>());
        assert_alive_for(&app, 30 * MINUTE).await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn deliberate_pause_fails_readiness_and_never_liveness() {
    for (operation, code, reason) in [
        ("Publish", "AuthorizationError", "paused: every topic refuses notices\n"),
        ("DeleteMessageBatch", "AccessDenied", "paused: the queue refuses to delete messages\n"),
    ] {
        let world = World::new();
        world.violating(&["1.0"]);
        let app = world.app();
        let test = async {
            world.sim.set_faults(FaultRule::on(operation).error(code));
            assert_alive_for(&app, 30 * MINUTE).await;
            let paused = (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
            assert_eq!(get(&app, "/readyz").await, paused);
            world.sim.clear_faults();
            world.done().await;
            assert_alive_for(&app, MINUTE).await;
            assert_ready(&app).await;
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_holds_every_permit_never_fails_liveness() {
    let world =
        World::new().set("QUEUE__MAX_IN_FLIGHT", "2").set("QUEUE__VISIBILITY_TIMEOUT", "30m");
    world.sim.set_faults(FaultRule::on("DeleteMessageBatch").hang());
    for tag in ["1.0", "2.0", "3.0", "4.0", "5.0"] {
        let digest = world.image(&[tag], ScanResult::basic(&[]));
        world.send(&basic(&digest, &[tag], &json!({})));
    }
    let app = world.app();
    let test = async {
        world.sim.wait_until(|sim| !sim.calls_of("DeleteMessageBatch").is_empty()).await;
        assert_alive_for(&app, 10 * MINUTE).await;
        // Two messages wait for their deletes without a permit, and two more with one.
        assert_eq!(world.sim.calls_of("ReceiveMessage").len(), 4, "these hold every permit");
        assert_ready(&app).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn queue_deleted_during_work_fails_readiness_until_it_gives_a_message() {
    let world = World::new();
    world.sim.set_faults(FaultRule::on("Publish").once().act(|sim| sim.delete_queue(QUEUE)));
    let first = world.violating(&["1.0"]);
    let app = world.app();
    let test = async {
        world.sim.wait_for_calls("Publish", 1).await;
        assert_alive_for(&app, 10 * MINUTE).await;
        assert_eq!(world.tags(&first), [quarantine(&first)]);
        let (status, why) = get(&app, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.starts_with("paused: the queue"), "{why}");

        world.sim.create_queue_with_redrive(QUEUE, 4, &[]);
        let second = world.violating(&["2.0"]);
        world.done().await;
        assert_eq!(world.tags(&second), [quarantine(&second)]);
        assert_alive_for(&app, MINUTE).await;
        assert_ready(&app).await;
        assert_eq!((world.notices().len(), world.dead_letters()), (2, 0));
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}
