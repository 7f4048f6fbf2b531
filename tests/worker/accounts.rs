//! Images in other accounts: one role session serves many messages, and is renewed before it ends.

use std::time::Duration;

use aws_sim::{Call, FaultRule, RepoKey};
use serde_json::json;
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{ACCOUNT, QUEUE, REGION, World, critical, enhanced, quarantine};

const MEMBER: &str = "444455556666";
const OTHER_MEMBER: &str = "777788889999";
/// How long a session of a role lasts (STS API reference, AssumeRole, `DurationSeconds`).
const SESSION: Duration = Duration::from_secs(3600);

fn world() -> World {
    World::new()
        .set("POLICY__ACCOUNTS", &[ACCOUNT, MEMBER, OTHER_MEMBER].join(","))
        .set("AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden")
        .set("AWS__EXTERNAL_ID", "of-the-central-worker")
}

/// An image over the limit in any account and Region, with its event on the queue.
fn violation(world: &World, repository: &RepoKey, tag: &str) -> String {
    let digest = world.image_in(repository, &[tag], critical());
    let mut event = enhanced(repository, &digest, &[tag], &json!({"CRITICAL": 1, "HIGH": 2}));
    event["id"] = json!(digest);
    world.send(&event);
    digest
}

fn is_done(world: &World, repository: &RepoKey, digest: &str) -> bool {
    world.sim.tags(repository, digest).unwrap() == [quarantine(digest)]
}

/// The roles that were assumed, by account.
fn sessions(world: &World, account: &str) -> Vec<Call> {
    let role = format!("arn:aws:iam::{account}:role/tagwarden");
    let calls = world.sim.calls_of("AssumeRole").into_iter();
    calls.filter(|call| call.request["RoleArn"] == role.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_role_session_serves_every_message_of_an_account_and_region() {
    let world = world();
    let repositories: Vec<_> = ["team/app", "team/api"]
        .map(|name| world.sim.create_repository_in(MEMBER, REGION, name))
        .into();
    let mut images = Vec::new();
    for number in 0..20 {
        let repository = &repositories[number % 2];
        images.push((repository, violation(&world, repository, &format!("v{number}"))));
    }

    world.run_to_the_end().await;

    for (repository, digest) in images {
        assert!(is_done(&world, repository, &digest));
    }
    let sessions = sessions(&world, MEMBER);
    assert_eq!(sessions.len(), 1);
    let request = &sessions[0].request;
    assert_eq!(request["ExternalId"], "of-the-central-worker");
    assert_eq!(request["RoleSessionName"], "tagwarden");
    assert_eq!(world.sim.calls_of("AssumeRole").len(), 1, "the worker's own account needs no role");
    assert!(world.changes().iter().all(|call| call.account == MEMBER));
}

#[tokio::test(start_paused = true)]
async fn role_is_assumed_in_the_worker_region_for_any_image() {
    let world = world();
    for region in ["us-east-1", "ap-southeast-2"] {
        let repository = world.sim.create_repository_in(MEMBER, region, "team/app");
        violation(&world, &repository, "1.0");
    }

    world.run_to_the_end().await;

    let sessions = sessions(&world, MEMBER);
    assert_eq!(sessions.len(), 2, "one for each client");
    assert!(sessions.iter().all(|call| call.region == REGION && call.account == ACCOUNT));
    let mut regions: Vec<_> = world.changes().into_iter().map(|call| call.region).collect();
    regions.sort();
    regions.dedup();
    assert_eq!(regions, ["ap-southeast-2", "us-east-1"]);
}

#[tokio::test(start_paused = true)]
async fn session_is_renewed_before_it_ends() {
    let world = world();
    let repository = world.sim.create_repository_in(MEMBER, REGION, "team/app");
    // AWS answers expired credentials in this way.
    let sim = world.sim.clone();
    let expired = FaultRule::on_service(aws_sim::Service::Ecr)
        .matching(move |call| {
            let session = sim.calls_of("AssumeRole").pop();
            call.account == MEMBER
                && session.is_none_or(|session| session.at + SESSION <= sim.age())
        })
        .error("ExpiredTokenException");
    world.sim.set_faults(expired);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let mut tag = 0;
    let mut sent_after = async |wait: Duration| {
        sleep(wait).await;
        tag += 1;
        let digest = violation(&world, &repository, &format!("v{tag}"));
        world.done().await;
        assert!(is_done(&world, &repository, &digest));
        sessions(&world, MEMBER).len()
    };

    let app = world.app();
    let test = async {
        assert_eq!(sent_after(minutes(0)).await, 1);
        assert_eq!(sent_after(minutes(30)).await, 1);
        assert_eq!(sent_after(minutes(29)).await, 1);
        assert_eq!(
            sent_after(minutes(1) - Duration::from_secs(1)).await,
            2,
            "the session has nearly ended"
        );
        assert_eq!(sent_after(minutes(300)).await, 3, "the session ended long ago");
        let renewed = sessions(&world, MEMBER)[1].at;
        assert!(renewed < sessions(&world, MEMBER)[0].at + SESSION);
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();

    let metrics = app.instruments().render().unwrap();
    let refused = metrics.lines().filter(|line| line.contains("outcome=\"credentials\""));
    assert!(refused.clone().all(|line| line.ends_with(" 0")), "{:?}", refused.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn refused_role_delays_only_the_messages_of_its_account() {
    let world = world();
    let locked: Vec<_> = ["team/app", "team/api", "team/web"]
        .map(|name| world.sim.create_repository_in(MEMBER, REGION, name))
        .into();
    let other = world.sim.create_repository_in(OTHER_MEMBER, REGION, "team/app");
    let refused = FaultRule::on("AssumeRole")
        .matching(|call| call.input["RoleArn"].as_str().is_some_and(|role| role.contains(MEMBER)))
        .error("AccessDenied");
    world.sim.set_faults(refused);
    let app = world.app();
    let test = async {
        let first = violation(&world, &world.repository, "0");
        world.done().await;
        assert!(is_done(&world, &world.repository, &first));
        let mut held = Vec::new();
        for number in 0..12 {
            let repository = &locked[number % 3];
            held.push((repository, violation(&world, repository, &format!("v{number}"))));
        }
        for number in 1..=8 {
            sleep(Duration::from_secs(300)).await;
            assert_eq!(app.health().ready(), Ok(()), "after {} minutes", 5 * number);
            for repository in [&world.repository, &other] {
                let digest = violation(&world, repository, &number.to_string());
                sleep(Duration::from_secs(10)).await;
                assert!(is_done(&world, repository, &digest), "after {} minutes", 5 * number);
            }
        }
        let waiting = world.sim.queue(QUEUE).messages;
        assert_eq!(waiting.len(), held.len());

        world.sim.clear_faults();
        world.done().await;
        for (repository, digest) in held {
            assert!(is_done(&world, repository, &digest));
        }
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.dead_letters(), 0);
}
