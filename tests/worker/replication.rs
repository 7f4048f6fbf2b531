//! Registries that replicate removals to others: nothing is removed before the quarantine tag has
//! arrived there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::{Fault, FaultRule, Moment, ReplicationRule, RepoKey, SimConfig};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;

use super::support::{
    ACCOUNT, QUEUE, REGION, World, basic, critical, in_repository, quarantine, settled,
};

/// Registries that receive replicas from our own.
const NEAR: (&str, &str) = (ACCOUNT, "us-east-1");
const FAR: (&str, &str) = ("444455556666", "eu-central-1");
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule() -> ReplicationRule {
    ReplicationRule::to(&[NEAR, FAR]).deletes(true)
}

fn copy(place: (&str, &str)) -> RepoKey {
    RepoKey::new(place.0, place.1, "team/app")
}

fn replicate(world: &World, rule: ReplicationRule, takes: [u64; 2]) {
    let [least, most] = takes.map(seconds);
    world.sim.set_replication(ACCOUNT, REGION, vec![rule], least..=most);
}

/// A world whose replicas contain everything that exists so far. Later changes take a number of
/// seconds in this range.
fn followed(world: &World, takes: [u64; 2]) -> String {
    replicate(world, rule(), [0, 0]);
    let digest = world.violating(&["1.0", "latest"]);
    replicate(world, rule(), takes);
    digest
}

fn following() -> World {
    World::new().set("POLICY__REPLICATED", "follow")
}

fn blocked_in(places: &str) -> String {
    format!("ECR repeats removals in {places}, which could delete the image there (replicated)")
}

const BOTH: &str = "111122223333 us-east-1, 444455556666 eu-central-1";

fn last_reason(notice: &Value) -> &Value {
    notice["reasons"].as_array().unwrap().last().unwrap()
}

/// Checks that a tag is removed only while every replica has the mark.
fn watch(world: &World) -> Arc<Mutex<Vec<String>>> {
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&wrong);
    world.sim.watch(move |sim, call, moment| {
        if call.operation != "BatchDeleteImage" || moment != Moment::Before {
            return;
        }
        for id in call.request["imageIds"].as_array().unwrap() {
            let digest = id["imageDigest"].as_str().unwrap();
            for place in [NEAR, FAR] {
                if sim.tag_target(&copy(place), &quarantine(digest)).as_deref() != Some(digest) {
                    seen.lock().unwrap().push(format!("{id} before the mark is in {place:?}"));
                }
            }
        }
    });
    wrong
}

fn assert_nothing_lost(world: &World, wrong: &Mutex<Vec<String>>) {
    assert_eq!(*wrong.lock().unwrap(), [""; 0]);
    assert_eq!(world.sim.images_lost_by_replication(), []);
}

#[tokio::test(start_paused = true)]
async fn image_with_replicated_removals_is_blocked_and_names_every_destination() {
    for mode in ["enforce", "audit"] {
        for action in ["quarantine", "delete"] {
            let world = World::new().set("POLICY__MODE", mode).set("POLICY__ACTION", action);
            let digest = followed(&world, [1, 9]);

            let app = world.run_to_the_end().await;

            assert!(world.changes().is_empty());
            assert_eq!(world.tags(&digest), ["1.0", "latest"]);
            let notice = world.notice();
            assert_eq!(notice["action"], "blocked");
            assert_eq!(last_reason(&notice), &json!(blocked_in(BOTH)));
            assert_eq!(notice["tags"]["kept"], json!(["1.0", "latest"]));
            assert_eq!(settled(&app), [("delete blocked".to_owned(), 1)]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn index_and_its_child_are_blocked_alike() {
    let world = World::new();
    replicate(&world, rule(), [0, 0]);
    let child = world.image(&["1.0-amd64"], critical());
    let index = world.sim.push_index(&world.repository, &["1.0"], &[(&child, "linux/amd64")]);
    world.send(&basic(&child, &["1.0-amd64"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notices = world.notices();
    let notified: Vec<_> = notices.iter().map(|notice| &notice["image"]["digest"]).collect();
    assert_eq!(notified, [&json!(index), &json!(child)]);
    assert!(notices.iter().all(|notice| last_reason(notice) == &json!(blocked_in(BOTH))));
}

#[tokio::test(start_paused = true)]
async fn rules_that_replicate_no_removal_here_do_not_block() {
    let other = |rule: ReplicationRule| (ACCOUNT, REGION, rule);
    for (account, region, rule) in [
        other(ReplicationRule::to(&[NEAR])),
        other(ReplicationRule::to(&[NEAR]).deletes(false)),
        other(rule().prefix("tea/").prefix("team/app/more")),
        other(ReplicationRule::to(&[]).deletes(true)),
        (ACCOUNT, "us-west-2", rule()),
        ("777788889999", REGION, rule()),
    ] {
        for replicated in ["block", "follow"] {
            let world = World::new().set("POLICY__REPLICATED", replicated);
            world.sim.set_replication(account, region, vec![rule.clone()], WEEK..=WEEK);
            let digest = world.violating(&["1.0"]);

            world.run_to_the_end().await;

            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{rule:?}");
            assert_eq!(world.notice()["action"], "quarantined");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn policy_rule_decides_about_replication_of_its_repositories() {
    let world =
        World::configured("[[policy.rules]]\nrepositories = ['team/*']\nreplicated = 'follow'\n");
    let digest = followed(&world, [1, 2]);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn tags_are_removed_after_the_mark_arrived_in_every_replica_in_any_order() {
    for seed in 0..25 {
        let most = [1, 5, 40, 300, 900][seed as usize % 5];
        let world = World::with(SimConfig { seed, ..SimConfig::default() });
        let world = world.set("POLICY__REPLICATED", "follow");
        world.sim.create_queue_with_redrive(QUEUE, 10, &[]);
        let digest = followed(&world, [0, most]);
        let wrong = watch(&world);

        let app = world.run_to_the_end().await;

        assert_nothing_lost(&world, &wrong);
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{seed}");
        assert_eq!(world.notice()["action"], "quarantined", "{seed}");
        let waits = settled(&app).iter().any(|(what, _)| what == "retry unreplicated");
        assert_eq!(waits, most > 5 && waits, "a wait of seconds keeps the message in hand");
        world.sim.wait_until(|sim| sim.tags(&copy(FAR), &digest).unwrap().len() == 1).await;
        assert_nothing_lost(&world, &wrong);
    }
}

#[tokio::test(start_paused = true)]
async fn index_and_its_child_wait_alike() {
    let world = following();
    replicate(&world, rule(), [0, 0]);
    let child = world.image(&["1.0-amd64"], critical());
    let index = world.sim.push_index(&world.repository, &["1.0"], &[(&child, "linux/amd64")]);
    world.send(&basic(&child, &["1.0-amd64"], &json!({"CRITICAL": 1})));
    replicate(&world, rule(), [2, 20]);
    let wrong = watch(&world);

    world.run_to_the_end().await;

    assert_nothing_lost(&world, &wrong);
    for digest in [index, child] {
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    }
    assert!(world.notices().iter().all(|notice| notice["action"] == "quarantined"));
}

#[tokio::test(start_paused = true)]
async fn mark_that_never_arrives_is_notified_as_blocked_and_nothing_is_removed() {
    for action in ["quarantine", "delete"] {
        let world = following().set("POLICY__ACTION", action);
        let digest = followed(&world, [WEEK.as_secs(), WEEK.as_secs()]);

        let app = world.run_to_the_end().await;

        assert!(world.sim.calls_of("BatchDeleteImage").is_empty());
        assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
        let notice = world.notice();
        assert_eq!(notice["action"], "blocked");
        let reason = format!(
            "the quarantine tag has not arrived in {BOTH}, where ECR repeats removals: they could delete the image \
             there (replicated)"
        );
        assert_eq!(last_reason(&notice), &json!(reason));
        assert_eq!(notice["tags"]["kept"], json!(["1.0", "latest"]));
        let outcomes = [("delete blocked".to_owned(), 1), ("retry unreplicated".to_owned(), 3)];
        assert_eq!(settled(&app), outcomes);
        assert_eq!(world.dead_letters(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn only_replicas_without_the_mark_are_named() {
    let world = following();
    let digest = followed(&world, [0, 0]);
    // The answer of a registry whose permissions allow no replication.
    let lacking = FaultRule::on("DescribeImages").account(FAR.0);
    world.sim.set_faults(lacking.error("RepositoryNotFoundException"));

    world.run_to_the_end().await;

    assert!(world.tags(&digest).contains(&"1.0".to_owned()));
    let notice = world.notice();
    assert_eq!(notice["action"], "blocked");
    assert!(
        last_reason(&notice).as_str().unwrap().contains(" in 444455556666 eu-central-1, where")
    );
}

#[tokio::test(start_paused = true)]
async fn mark_on_another_image_of_a_replica_does_not_count() {
    let world = following();
    let digest = followed(&world, [WEEK.as_secs(), WEEK.as_secs()]);
    for place in [NEAR, FAR] {
        world.sim.push_image(&copy(place), &[&quarantine(&digest)], "squatter");
    }
    world.run_to_the_end().await;
    assert!(world.sim.calls_of("BatchDeleteImage").is_empty());
    assert_eq!(world.notice()["action"], "blocked");
}

#[tokio::test(start_paused = true)]
async fn audit_mode_waits_for_nothing() {
    let world = following().set("POLICY__MODE", "audit");
    followed(&world, [WEEK.as_secs(), WEEK.as_secs()]);
    let app = world.run_to_the_end().await;
    assert!(world.changes().is_empty());
    assert_eq!(settled(&app), [("delete would_untag".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn registry_that_hides_its_replication_rules_is_a_refusal() {
    for (replicated, left) in [("block", "blocked"), ("follow", "quarantined")] {
        let world = World::new().set("POLICY__REPLICATED", replicated);
        let digest = followed(&world, [1, 2]);
        let wrong = watch(&world);
        let refused = FaultRule::on("DescribeRegistry").first(2).error("AccessDeniedException");
        world.sim.set_faults(refused);

        let app = world.run_to_the_end().await;

        assert_nothing_lost(&world, &wrong);
        let outcomes = [(format!("delete {left}"), 1), ("retry refused".to_owned(), 2)];
        assert_eq!(settled(&app), outcomes);
        assert_eq!(world.tags(&digest).contains(&"1.0".to_owned()), replicated == "block");
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_shared_by_many_messages_is_one_refusal_and_pauses_nothing() {
    let world = World::new();
    for number in 0..20 {
        let name = format!("team/{number}");
        let repository = world.sim.create_repository(&name);
        let digest = world.image_in(&repository, &["1.0"], critical());
        world.send(&in_repository(basic(&digest, &["1.0"], &json!({"CRITICAL": 1})), &name));
    }
    let slow = Fault::Delay(seconds(5));
    let refused = FaultRule::on("DescribeRegistry").error("AccessDeniedException");
    world.sim.set_faults(vec![FaultRule::on("DescribeRegistry").fault(slow), refused]);
    let (app, shutdown) = (world.app(), Shutdown::default());
    let count = || settled(&app).iter().map(|(_, count)| count).sum::<u64>();
    let test = async {
        world.sim.wait_until(|_| count() >= 20).await;
        assert!(app.health().obstacle().is_none());
    };
    world.work(&app, &shutdown, test).await.unwrap();
    assert_eq!(settled(&app), [("retry refused".to_owned(), 20)]);
    assert!(world.sim.calls_of("DescribeRegistry").len() <= 3);
}

#[tokio::test(start_paused = true)]
async fn registry_without_replication_support_has_no_rules() {
    for (code, status) in
        [("UnknownOperationException", 400), ("InvalidAction", 404), ("NotImplemented", 501)]
    {
        let world = World::new();
        let digests: Vec<_> = ["1.0", "2.0"].map(|tag| world.violating(&[tag])).into();
        let error = aws_sim::ApiError::new(code, "injected").with_status(status);
        let fault = Fault::ErrorBefore(error);
        world.sim.set_faults(FaultRule::on("DescribeRegistry").fault(fault));

        world.run_to_the_end().await;

        assert!(digests.iter().all(|digest| world.tags(digest) == [quarantine(digest)]), "{code}");
        assert!(world.sim.calls_of("DescribeRegistry").len() <= 3, "{code}: remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_request_does_not_count_as_an_answer_without_rules() {
    let world = World::new();
    let digest = world.violating(&["1.0"]);
    let error = aws_sim::ApiError::new("ValidationException", "injected").with_status(400);
    let fault = Fault::ErrorBefore(error);
    world.sim.set_faults(FaultRule::on("DescribeRegistry").first(1).fault(fault));

    let app = world.run_to_the_end().await;

    assert!(settled(&app).contains(&("redrive rejected".to_owned(), 1)), "{:?}", settled(&app));
    assert_eq!(world.tags(&digest), [quarantine(&digest)], "by the next delivery");
}

#[tokio::test(start_paused = true)]
async fn registry_that_cannot_answer_now_is_asked_again() {
    for code in ["ThrottlingException", "ServerException"] {
        let world = World::new();
        followed(&world, [1, 2]);
        world.sim.set_faults(FaultRule::on("DescribeRegistry").first(4).error(code));
        let app = world.run_to_the_end().await;
        assert!(world.changes().is_empty());
        let outcomes = [("delete blocked".to_owned(), 1), ("retry transient".to_owned(), 1)];
        assert_eq!(settled(&app), outcomes, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_answer_does_not_count_as_an_answer_without_rules() {
    let world = World::new();
    let digest = followed(&world, [1, 2]);
    let garble = |reply: &mut Value| {
        reply["replicationConfiguration"]["rules"][0]["destinations"][0]["region"] = json!("?");
    };
    let fault = FaultRule::on("DescribeRegistry").fault(Fault::Replace(Arc::new(garble)));
    world.sim.set_faults(fault);
    world.run_to_the_end().await;
    assert!(world.changes().is_empty());
    assert_eq!(world.tags(&digest), ["1.0", "latest"]);
    assert_eq!(world.dead_letters(), 1, "with the reason in the log");
}

#[tokio::test(start_paused = true)]
async fn replication_rules_are_read_once_for_any_number_of_images() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "256");
    for number in 0..200 {
        world.violating(&[&format!("v{number}")]);
    }
    world.run_to_the_end().await;
    assert_eq!(world.sim.calls_of("DescribeRegistry").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_replica_is_a_refusal_of_its_account() {
    for code in ["AccessDeniedException", "UnrecognizedClientException"] {
        let world = following();
        let digest = followed(&world, [0, 0]);
        let refused = FaultRule::on("DescribeImages").account(FAR.0).first(2).error(code);
        world.sim.set_faults(refused);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{code}");
        let outcomes = [("delete quarantined".to_owned(), 1), ("retry refused".to_owned(), 2)];
        assert_eq!(settled(&app), outcomes, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_about_one_image_wait_for_its_replicas_together() {
    let world = following().set("QUEUE__MAX_IN_FLIGHT", "64");
    world.sim.create_queue_with_redrive(QUEUE, 10, &[]);
    let digest = followed(&world, [100, 100]);
    for _ in 0..40 {
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    }
    let wrong = watch(&world);

    let app = world.run_to_the_end().await;

    assert_nothing_lost(&world, &wrong);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.dead_letters(), 0);
    let looks = world.sim.calls_of("DescribeImages").into_iter();
    let looks = looks.filter(|call| call.region == FAR.1).count();
    assert!(looks <= 150, "{looks} looks for 41 messages, {:?}", settled(&app));
}

#[tokio::test(start_paused = true)]
async fn message_on_its_last_receive_does_not_share_the_wait_of_another() {
    let world = following().set("QUEUE__MAX_IN_FLIGHT", "64");
    let digest = followed(&world, [WEEK.as_secs(), WEEK.as_secs()]);
    let test = async {
        for _ in 0..300 {
            world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
            tokio::time::sleep(seconds(5)).await;
        }
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.dead_letters(), 0);
    assert!(world.sim.calls_of("BatchDeleteImage").is_empty());
}

#[tokio::test(start_paused = true)]
async fn stopping_worker_does_not_wait_for_a_replica() {
    let world = following();
    followed(&world, [WEEK.as_secs(), WEEK.as_secs()]);
    let (app, shutdown) = (world.app(), Shutdown::default());
    let looked = world
        .sim
        .wait_until(|sim| sim.calls_of("DescribeImages").iter().any(|call| call.region == FAR.1));
    let began = world.sim.age();
    world.work(&app, &shutdown, looked).await.unwrap();
    assert!(world.sim.age() - began < seconds(2));
    assert!(settled(&app).iter().all(|(what, _)| what == "release abandoned"));
    assert_eq!(world.sim.queue(QUEUE).visible, 1);
}

#[tokio::test(start_paused = true)]
async fn untagged_image_with_replicated_removals_is_deleted_only_by_follow() {
    for (replicated, action, is_there) in
        [("block", "quarantined", true), ("follow", "deleted", false)]
    {
        let world =
            World::new().set("POLICY__REPLICATED", replicated).set("POLICY__ACTION", "delete");
        let digest = world.image(&["1.0"], critical());
        world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
        world.sim.untag_image(&world.repository, "1.0");
        replicate(&world, rule(), [0, 0]);
        // The state after a crash before the notice.
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
        world.sim.set_faults(
            FaultRule::on("DescribeImageScanFindings").first(3).error("ServerException"),
        );

        world.run_to_the_end().await;

        assert_eq!(world.notice()["action"], action, "{replicated}");
        assert_eq!(world.sim.tags(&world.repository, &digest).is_some(), is_there);
    }
}

#[tokio::test(start_paused = true)]
async fn hourly_limit_and_wait_for_replicas_work_together() {
    let world = following().with_file("limits.untags_per_hour = 1");
    world.sim.create_queue_with_redrive(QUEUE, 10, &[]);
    let digest = followed(&world, [20, 30]);
    let wrong = watch(&world);
    world.run_to_the_end().await;
    assert_nothing_lost(&world, &wrong);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert!(world.sim.age() > seconds(3600), "one tag an hour");
    assert_eq!(world.dead_letters(), 0);
}
