//! The whole way of a mistake: a wrong policy, its correction, and one command that gives everything
//! back. The worker and the commands are the real program, each with credentials of its own.

use std::fs;

use aws_sim::RepoKey;
use serde_json::{Value, json};

use super::filled::critical;
use super::support::{QUEUE, Shown, World, run};
use crate::process::{Variables, Worker, within_deadline};
use crate::world::{DEAD_LETTERS, assert_in_order, quarantine_tag};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OPERATOR: &str = "AROAOPERATOR00000001";
/// More than one call sends.
const IMAGES: usize = 12;

/// A worker with its configuration file, and a person with credentials of their own.
struct Mistake {
    world: World,
    /// The environment of the person, who knows neither the key nor the policy.
    person: Variables,
    folder: tempfile::TempDir,
}

impl Mistake {
    async fn new() -> Self {
        let mut world = World::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut person = world.variables.clone();
        person.insert("AWS_ACCESS_KEY_ID".to_owned(), "AKIAPERSON".to_owned());
        world.sim.set_sender("AKIAPERSON", &format!("{OPERATOR}:me"));
        for name in ["TAGWARDEN__POLICY__MODE", "TAGWARDEN__NOTIFY__TOPIC_ARN"] {
            person.remove(name);
        }
        let file = folder.path().join("tagwarden.toml").display().to_string();
        for (name, value) in [
            ("TAGWARDEN_CONFIG", file.as_str()),
            ("TAGWARDEN__RESTORE__KEY", KEY),
            ("TAGWARDEN__RESTORE__SENDERS", OPERATOR),
        ] {
            world.variables.insert(name.to_owned(), value.to_owned());
        }
        let scans = json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]});
        world.sim.put_rule("scans", scans, QUEUE);
        Self { world, person, folder }
    }

    /// Writes the policy, and runs a worker with it.
    async fn worker(&self, critical: u32) -> Worker {
        let policy = format!("[policy.max_findings]\ncritical = {critical}\n");
        fs::write(self.folder.path().join("tagwarden.toml"), policy).expect("a file");
        let mut worker = Worker::start(&self.world.variables).await;
        worker.ready().await;
        worker
    }

    /// Waits until the worker has settled every message, and stops it.
    async fn settled(&self, worker: Worker) {
        let sim = &self.world.sim;
        let empty = sim.wait_until(|sim| sim.queue_length(QUEUE) == 0);
        within_deadline("an empty queue", empty).await;
        assert_in_order(&worker.stopped().await);
        assert_eq!(sim.queue_length(DEAD_LETTERS), 0);
    }

    /// Runs a command as the person.
    async fn run(&self, arguments: &[&str]) -> Shown {
        run(arguments, &self.person, "").await
    }

    /// An image whose scan event is on its way.
    fn image(&self, repository: &RepoKey, tags: &[&str]) -> String {
        let sim = &self.world.sim;
        let digest = sim.push_image(repository, tags, &tags.join(" "));
        sim.set_findings(repository, &digest, critical());
        sim.emit_scan_event(repository, &digest);
        digest
    }

    async fn listed(&self) -> Vec<Value> {
        let shown = self.run(&["list", "--format", "json"]).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.json()["images"].as_array().expect("images").clone()
    }
}

#[tokio::test]
async fn one_command_gives_back_what_a_wrong_policy_removed() {
    let mistake = Mistake::new().await;
    let sim = &mistake.world.sim;
    let other = sim.create_repository("shop/api");
    sim.set_tag_mutability(&other, "IMMUTABLE", &[]);
    let mut images = Vec::new();
    for at in 0..IMAGES {
        let repository = if at % 2 == 0 { &mistake.world.repository } else { &other };
        let tags = [format!("v{at}"), format!("v{at}-stable")];
        let tags = &tags[..=at % 2];
        let names: Vec<_> = tags.iter().map(String::as_str).collect();
        let digest = mistake.image(repository, &names);
        images.push((repository.clone(), digest, tags.to_vec()));
    }
    let start = [&mistake.world.repository, &other].map(|one| sim.repository_tags(one));

    let worker = mistake.worker(0).await;
    mistake.settled(worker).await;

    for (repository, digest, _) in &images {
        assert_eq!(sim.tags(repository, digest), Some(vec![quarantine_tag(digest)]));
    }
    assert_eq!(mistake.listed().await.len(), IMAGES);
    let asked = mistake.run(&["explain", "shop/api:v1"]).await;
    for part in [
        "shop/api:v1 was removed from",
        "critical 1 exceeds the limit of 0",
        "tagwarden restore shop/api:v1",
    ] {
        assert!(asked.stdout.contains(part), "{part}: {asked:?}");
    }
    // Somebody has pushed one anew.
    let new = sim.push_image(&mistake.world.repository, &["v0"], "pushed anew");

    let worker = mistake.worker(9).await;
    let arguments = ["restore", "--repository", "*", "--yes"];
    let shown = mistake.run(&arguments).await;

    let counts = format!("{} restored, 1 left alone", IMAGES - 1);
    assert_eq!((shown.code, shown.stdout.lines().last()), (0, Some(counts.as_str())), "{shown:?}");
    mistake.settled(worker).await;
    let now = [&mistake.world.repository, &other].map(|one| sim.repository_tags(one));
    for (mut before, now) in start.into_iter().zip(now) {
        before.iter_mut().for_each(|(tag, digest)| {
            if tag == "v0" {
                digest.clone_from(&new)
            }
        });
        let moved: Vec<_> =
            before.iter().filter(|(tag, digest)| now.get(*tag) != Some(*digest)).collect();
        assert!(moved.is_empty(), "{moved:?}");
    }
    assert_eq!(mistake.listed().await, [] as [Value; 0]);
    let told = mistake.run(&["explain", "shop/api:v1"]).await;
    for part in [
        "shop/api:v1 was removed from",
        "\n  given back v1, v1-stable: ",
        "the tag is on this image again",
        &images[1].1[..19],
    ] {
        assert!(told.stdout.contains(part), "{part}: {told:?}");
    }
    let again = mistake.run(&arguments).await;
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{again:?}");
    assert_eq!(sim.queue_length(QUEUE), 0);
}
