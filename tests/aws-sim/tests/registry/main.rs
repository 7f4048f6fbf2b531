//! ECR's registries through the real SDK: the archive, findings in detail, events, cache rules, replication, layers, manifests,
//! referrers, many images.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archive;
mod events;
mod findings;
mod layers;
mod manifests;
mod referrers;
mod replication;
mod scale;
mod settings;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sim::{RepoKey, Sim};
use serde_json::Value;

/// A simulation with one repository.
struct Scene {
    sim: Sim,
    repo: RepoKey,
    client: Client,
}

impl Scene {
    fn new() -> Self {
        let sim = Sim::default();
        let repo = sim.create_repository("team/app");
        let client = Client::new(&sim.sdk_config());
        Self { sim, repo, client }
    }

    /// The details of the events of a kind, in order.
    fn details(&self, detail_type: &str) -> Vec<Value> {
        let events = self.sim.events().into_iter();
        let wanted = events.filter(|event| event["detail-type"] == detail_type);
        wanted.filter_map(|event| event.get("detail").cloned()).collect()
    }
}

fn by_digest(digest: &str) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest).build()
}

fn by_tag(tag: &str) -> ImageIdentifier {
    ImageIdentifier::builder().image_tag(tag).build()
}
