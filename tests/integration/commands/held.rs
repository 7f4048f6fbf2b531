//! Commands show an image that somebody holds, and leave it alone.

use std::time::Duration;

use serde_json::{Value, json};
use tagwarden::clock::Clock;
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName};
use tagwarden::domain::record::{
    Hold, MANIFEST_TYPE, Record, RecordManifest, RestoreKeys, SubjectDescriptor,
};

use super::filled::{Filled, critical};
use super::support::{ACCOUNT, REGION, World};

/// The key that signs the holds of these tests. `check` takes it for one that nobody guesses.
pub(crate) const KEY: &str = "q0n3c0Qm2l4Kx9d1bqYv8n2rJxw5Tt7hZsEoLp6uGf8";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Quarantines an image of `team/app` that keeps its tags, and holds it for so long.
pub(crate) fn hold(world: &World, digest: &str, length: Duration) {
    let mark = digest.replace("sha256:", "quarantine-");
    world.sim.tag_image(&world.repository, &mark, digest);
    let now = Clock::of_this_machine().now();
    let hold = Record::Hold(Hold {
        until: now + length,
        issued: now,
        reason: "prod down".to_owned(),
        owner: "me@example.com".to_owned(),
        request: "request-1".to_owned(),
        sender: "AROA1:me".to_owned(),
    });
    let repository = Repository {
        account: AccountId::parse(ACCOUNT).expect("an account"),
        region: Region::parse(REGION).expect("a Region"),
        name: RepositoryName::parse("team/app").expect("a name"),
    };
    let subject = SubjectDescriptor {
        digest: Digest::parse(digest).expect("a digest"),
        media_type: MANIFEST_TYPE.to_owned(),
        size: 100,
    };
    let keys = RestoreKeys::parse(KEY).expect("a key");
    let manifest = RecordManifest::new(&hold, &repository, &subject, Some(&keys));
    world.sim.push_manifest(&world.repository, &[], &manifest.text);
}

async fn explained(world: &World) -> Value {
    world.run(&["explain", "team/app:1.0", "--format", "json"], "").await.json()
}

#[tokio::test]
async fn explain_shows_a_hold_and_whether_it_is_verified() {
    for (key, verdict, says) in [
        (None, "held", "by me@example.com (prod down) (not verified here)"),
        (Some(KEY), "held", "by me@example.com (prod down)"),
        (Some("BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"), "untag", ""),
    ] {
        let mut world = World::new().await;
        if let Some(key) = key {
            world.variables.insert("TAGWARDEN__RESTORE__KEY".to_owned(), key.to_owned());
        }
        let digest = world.image(&["1.0"], critical());
        hold(&world, &digest, DAY);

        let shown = explained(&world).await;

        assert_eq!(shown["verdict"], verdict, "{key:?}: {shown:#}");
        let image = &shown["images"][0];
        if verdict == "held" {
            let why = image["kept_because"][0].as_str().expect("a reason");
            assert!(why.starts_with("held until ") && why.ends_with(says), "{why}");
            assert_eq!(image["calls"], json!([]), "nobody is notified");
        }
    }
}

#[tokio::test]
async fn plan_names_a_held_image_and_apply_skips_one_that_is_held_since() {
    let filled = Filled::new().await;
    let world = &filled.world;
    let digest = world.image(&["held"], critical());
    let file = filled.saved().await;
    hold(world, &digest, DAY);

    let applied = filled.apply(&file, &["--format", "json"]).await;

    let document = applied.json();
    let images = document["images"].as_array().expect("images").iter();
    let mut of = images.filter(|image| image["digest"] == json!(digest));
    let image = of.next().expect("the image");
    assert_eq!(image["outcome"], "refused", "{image:#}");
    let problem = image["problem"].as_str().expect("a problem");
    assert!(problem.contains("held until ") && problem.contains("not verified here"), "{problem}");
    assert_eq!(world.sim.tags(&world.repository, &digest).expect("the image").len(), 2);
    let again = filled.plan(&["--format", "json"]).await.json();
    let images = again["images"].as_array().expect("images").iter();
    let mut held = images.filter(|image| image["digest"] == json!(digest));
    assert_eq!(held.next().expect("the image")["verdict"], "held", "{again:#}");
}
