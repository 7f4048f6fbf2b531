//! The AWS partitions besides the largest one: queue, topic, repositories and roles have other ARNs
//! there.

use aws_sim::{RepoKey, SimConfig};
use serde_json::{Value, json};

use super::support::{ACCOUNT, World, critical, enhanced, quarantine};

const MEMBER: &str = "444455556666";
/// A Region of each partition.
const PLACES: [(&str, &str); 7] = [
    ("aws", "eu-west-1"),
    ("aws-cn", "cn-north-1"),
    ("aws-us-gov", "us-gov-west-1"),
    ("aws-eusc", "eusc-de-east-1"),
    ("aws-iso", "us-iso-east-1"),
    ("aws-iso-b", "us-isob-east-1"),
    ("aws-iso-f", "us-isof-south-1"),
];

fn world(partition: &str, region: &str) -> World {
    let config = SimConfig { region: region.to_owned(), ..SimConfig::default() };
    let role = format!("arn:{partition}:iam::{{account}}:role/tagwarden");
    let topic = format!("arn:{partition}:sns:{region}:{ACCOUNT}:team");
    let world = World::with(config)
        .set("AWS__ASSUME_ROLE", &role)
        .set("POLICY__ACCOUNTS", &[ACCOUNT, MEMBER].join(","));
    assert_eq!(world.topic, topic);
    world
}

/// An event of basic scanning, as it arrives from a repository in any partition.
fn scanned(repository: &RepoKey, digest: &str) -> Value {
    json!({
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000003",
        "detail-type": "ECR Image Scan",
        "source": "aws.ecr",
        "account": repository.account,
        "time": "2026-01-02T03:04:05Z",
        "region": repository.region,
        "resources": [repository.arn()],
        "detail": {
            "scan-status": "COMPLETE",
            "repository-name": repository.name,
            "image-digest": digest,
            "image-tags": ["1.0"],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn images_are_processed_and_notified_in_every_partition() {
    for (partition, region) in PLACES {
        let world = world(partition, region);
        for account in [ACCOUNT, MEMBER] {
            let repository = world.sim.create_repository_in(account, region, "team/partition");
            assert!(repository.arn().starts_with(&format!("arn:{partition}:ecr:")), "{region}");
            for (number, is_enhanced) in [true, false].into_iter().enumerate() {
                let tag = format!("{number}.0");
                let digest = world.image_in(&repository, &[&tag], critical());
                let counts = json!({"CRITICAL": 1, "HIGH": 2});
                world.send(&match is_enhanced {
                    true => enhanced(&repository, &digest, &[&tag], &counts),
                    false => scanned(&repository, &digest),
                });

                world.run_to_the_end().await;

                let tags = world.sim.tags(&repository, &digest).unwrap();
                assert_eq!(tags, [quarantine(&digest)], "{partition} {account} {tag}");
            }
        }
        let notices = world.notices();
        let places: Vec<_> =
            notices.iter().map(|notice| notice["image"]["region"].as_str()).collect();
        assert_eq!(places, [Some(region); 4]);
        let roles = world.sim.calls_of("AssumeRole");
        let role = format!("arn:{partition}:iam::{MEMBER}:role/tagwarden");
        assert!(roles.iter().all(|call| call.request["RoleArn"] == role.as_str()), "{roles:?}");
        assert_eq!(world.dead_letters(), 0);
    }
}
