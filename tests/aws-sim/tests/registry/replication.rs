//! Replication: copies follow their registry some time later, and changes overtake one another.

use std::time::Duration;

use aws_sdk_ecr::types::ReplicationStatus;
use aws_sim::{ReplicationRule, RepoKey, SimConfig};
use tokio::time::sleep;

use super::{Scene, Sim, by_digest};

const OWN: (&str, &str) = ("111122223333", "eu-west-1");
const COPY: (&str, &str) = ("444455556666", "us-east-1");
const MINUTE: Duration = Duration::from_secs(60);

fn rule() -> ReplicationRule {
    ReplicationRule::to(&[COPY])
}

fn replicate(sim: &Sim, rules: Vec<ReplicationRule>, most: Duration) {
    sim.set_replication(OWN.0, OWN.1, rules, Duration::ZERO..=most);
}

fn copy() -> RepoKey {
    RepoKey::new(COPY.0, COPY.1, "team/app")
}

#[tokio::test(start_paused = true)]
async fn pushes_are_copied_and_removals_only_where_a_rule_says_so() {
    for (deletes, left) in [(None, Some(2)), (Some(false), Some(2)), (Some(true), Some(1))] {
        let Scene { sim, repo, .. } = Scene::new();
        let rule = deletes.map_or_else(rule, |deletes| rule().deletes(deletes));
        replicate(&sim, vec![rule], Duration::ZERO);
        let digest = sim.push_image(&repo, &["1.0", "latest"], "x");
        sim.untag_image(&repo, "1.0");
        assert_eq!(sim.tags(&copy(), &digest).map(|tags| tags.len()), left, "{deletes:?}");
        sim.untag_image(&repo, "latest");
        let gone = deletes == Some(true);
        assert_eq!(sim.tags(&copy(), &digest).is_none(), gone, "{deletes:?}");
        assert!(sim.images_lost_by_replication().is_empty(), "it is gone at home too");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_covers_the_repositories_of_its_prefixes_in_its_own_registry() {
    let Scene { sim, repo, .. } = Scene::new();
    replicate(&sim, vec![rule().prefix("other").prefix("team/")], Duration::ZERO);
    let elsewhere = sim.create_repository_in(OWN.0, "eu-north-1", "team/app");
    let shared = sim.create_repository("shared");
    let here = sim.push_image(&repo, &["1.0"], "here");
    sim.push_image(&elsewhere, &["2.0"], "elsewhere");
    sim.push_image(&shared, &["3.0"], "shared");
    assert_eq!(sim.images(&copy()), [here]);
    assert!(sim.images(&RepoKey::new(COPY.0, COPY.1, "shared")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_overtakes_another_tag_takes_the_image_from_the_copy() {
    let mut lost = 0;
    for seed in 0..40 {
        let sim = Sim::new(SimConfig { seed, ..SimConfig::default() });
        let repo = sim.create_repository("team/app");
        replicate(&sim, vec![rule().deletes(true)], MINUTE);
        let digest = sim.push_image(&repo, &["1.0"], "x");
        sleep(MINUTE).await;
        sim.tag_image(&repo, "mark", &digest);
        sim.untag_image(&repo, "1.0");
        sleep(MINUTE).await;
        lost += usize::from(sim.images_lost_by_replication() == [(copy(), digest.clone())]);
        assert_eq!(sim.tags(&copy(), &digest), Some(vec!["mark".to_owned()]), "in the end");
    }
    assert!((10..30).contains(&lost), "{lost} of 40");
}

#[tokio::test(start_paused = true)]
async fn of_one_tag_the_last_change_counts_whatever_comes_when() {
    for seed in 0..20 {
        let sim = Sim::new(SimConfig { seed, ..SimConfig::default() });
        let repo = sim.create_repository("team/app");
        replicate(&sim, vec![rule().deletes(true)], MINUTE);
        let [one, two] = ["one", "two"].map(|content| sim.push_image(&repo, &["1.0"], content));
        sim.tag_image(&repo, "1.0", &one);
        sim.push_image(&repo, &["2.0"], "two");
        sim.untag_image(&repo, "2.0");
        sleep(MINUTE).await;
        assert_eq!(sim.tag_target(&copy(), "1.0"), Some(one), "seed {seed}");
        assert_eq!(sim.tag_target(&copy(), "2.0"), None, "seed {seed}");
        assert_ne!(sim.tags(&copy(), &two), Some(vec!["2.0".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_is_complete_while_a_tag_is_on_its_way() {
    let Scene { sim, repo, client } = Scene::new();
    replicate(&sim, vec![rule().deletes(true)], MINUTE);
    let digest = sim.push_image(&repo, &["1.0"], "x");
    let status = async || {
        let request = client.describe_image_replication_status().repository_name("team/app");
        let answer = request.image_id(by_digest(&digest)).send().await.unwrap();
        answer.replication_statuses()[0].status().unwrap().clone()
    };
    assert_eq!(status().await, ReplicationStatus::InProgress);
    sleep(MINUTE).await;
    sim.tag_image(&repo, "mark", &digest);
    assert_eq!(status().await, ReplicationStatus::Complete);
    assert_eq!(sim.tag_target(&copy(), "mark"), None);
}

#[tokio::test(start_paused = true)]
async fn a_registry_describes_itself_to_whoever_asks_in_its_account_and_region() {
    let Scene { sim, client, .. } = Scene::new();
    assert!(client.describe_registry().send().await.unwrap().registry_id().is_some());
    replicate(&sim, vec![rule().prefix("team/").deletes(true)], MINUTE);
    let answer = client.describe_registry().send().await.unwrap();
    assert_eq!(answer.registry_id(), Some(OWN.0));
    let rules = answer.replication_configuration().unwrap().rules();
    let place = &rules[0].destinations()[0];
    assert_eq!((place.registry_id(), place.region()), COPY);
    assert_eq!(rules[0].repository_filters()[0].filter(), "team/");
    // The SDK's model lacks it.
    let reply = sim.calls_of("DescribeRegistry").pop().unwrap().reply.unwrap();
    let rule = &reply["replicationConfiguration"]["rules"][0];
    assert_eq!(rule["deleteReplication"]["enabled"], true);
}
