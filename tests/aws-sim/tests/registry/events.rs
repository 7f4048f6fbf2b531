//! The events of pushes, deletions, the archive and Inspector's findings.

use aws_sim::{Finding, ScanResult, manifest};
use serde_json::{Value, json};

use super::{Scene, by_tag};

const ACTION: &str = "ECR Image Action";
const FINDING: &str = "Inspector2 Finding";

#[tokio::test(start_paused = true)]
async fn a_push_of_several_platforms_sends_one_event_for_each_manifest() {
    let scene = Scene::new();
    scene.sim.create_queue("actions", &[]);
    let pattern = json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"]}});
    scene.sim.put_rule("actions", pattern, "actions");

    let put = |manifest: String| {
        scene.client.put_image().repository_name("team/app").image_manifest(manifest)
    };
    put(manifest::image("one")).send().await.unwrap();
    let child = scene.sim.images(&scene.repo).remove(0);
    let parent = manifest::index(&[(&child, "linux/amd64")]);
    put(parent).image_tag("v1").send().await.unwrap();
    let index = scene.sim.tag_target(&scene.repo, "v1").unwrap();

    let of_child = json!({
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": "team/app",
        "image-digest": child,
        "image-tag": "",
        "manifest-media-type": manifest::OCI_IMAGE,
        "artifact-media-type": "application/vnd.oci.image.config.v1+json",
    });
    let of_index = json!({
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": "team/app",
        "image-digest": index,
        "image-tag": "v1",
        "manifest-media-type": manifest::OCI_INDEX,
    });
    assert_eq!(scene.details(ACTION), [of_child, of_index]);

    // Set-up sends the same: an image with two tags, an untagged one, a tag put on by somebody.
    scene.sim.push_image(&scene.repo, &["a", "b"], "two");
    let untagged = scene.sim.push_image(&scene.repo, &[], "three");
    scene.sim.tag_image(&scene.repo, "c", &untagged);
    let tags: Vec<Value> =
        scene.details(ACTION)[2..].iter().map(|detail| detail["image-tag"].clone()).collect();
    assert_eq!(tags, ["a", "b", "", "c"]);
    assert_eq!(scene.sim.queue("actions").visible, 6);
    assert!(scene.sim.events().iter().all(|event| event["resources"] == json!([])));
}

#[tokio::test(start_paused = true)]
async fn every_deletion_sends_an_event_for_each_tag() {
    let scene = Scene::new();
    scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    let two = scene.sim.push_image(&scene.repo, &["c", "d"], "two");
    let three = scene.sim.push_image(&scene.repo, &[], "three");
    let delete = scene.client.batch_delete_image().repository_name("team/app");
    delete.image_ids(by_tag("a")).send().await.unwrap();
    scene.sim.untag_image(&scene.repo, "b");
    scene.sim.untag_image(&scene.repo, "b");
    scene.sim.delete_image(&scene.repo, &two);
    scene.sim.delete_image(&scene.repo, &three);
    scene.sim.delete_image(&scene.repo, &three);

    let deleted: Vec<Value> = scene
        .details(ACTION)
        .into_iter()
        .filter(|detail| detail["action-type"] == "DELETE")
        .map(|detail| detail["image-tag"].clone())
        .collect();
    assert_eq!(deleted, ["a", "b", "c", "d", ""]);
    assert!(scene.sim.images(&scene.repo).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_archive_changes_the_storage_class() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["v1"], "one");
    scene.sim.archive_image(&scene.repo, &digest);
    scene.sim.set_image_status(&scene.repo, &digest, "ACTIVATING");
    scene.sim.activate_image(&scene.repo, &digest);
    let changes = &scene.details(ACTION)[1..];
    let classes: Vec<_> = changes.iter().map(|detail| &detail["target-storage-class"]).collect();
    assert_eq!(classes, ["ARCHIVE", "STANDARD"]);
    assert_eq!(
        changes[1],
        json!({
            "action-type": "UPDATE_STORAGE_CLASS",
            "result": "SUCCESS",
            "repository-name": "team/app",
            "image-digest": digest,
            "target-storage-class": "STANDARD",
            "last-activated-at": "2026-01-02T03:04:05Z",
        })
    );
}

#[tokio::test(start_paused = true)]
async fn findings_send_one_event_each_in_inspectors_words() {
    let scene = Scene::new();
    scene.sim.create_queue("findings", &[]);
    let pattern = json!({"detail-type": [FINDING], "detail": {"status": ["ACTIVE"]}});
    scene.sim.put_rule("findings", pattern, "findings");
    let digest = scene.sim.push_image(&scene.repo, &["3.0.0"], "one");
    let finding = Finding::new("CVE-2026-0001", "CRITICAL")
        .with_score(9.8)
        .exploited()
        .in_package("libexample", "1.0")
        .partly_fixed("0:1.1")
        .first_observed(1_725_468_938.411);
    let result = ScanResult::enhanced(&[("HIGH", 2)]).with(finding.clone()).in_use(4);
    scene.sim.set_findings(&scene.repo, &digest, result);
    scene.sim.emit_findings(&scene.repo, &digest);
    assert_eq!(scene.sim.queue("findings").visible, 3);

    let event: Value = serde_json::from_str(&scene.sim.queue("findings").messages[2].body).unwrap();
    let arn = format!("arn:aws:ecr:eu-west-1:111122223333:repository/team/app/{digest}");
    assert_eq!(event["source"], "aws.inspector2");
    assert_eq!(event["resources"], json!([arn]));
    let now = "Fri Jan 02 03:04:05.000 UTC 2026";
    let mut detail = event["detail"].clone();
    let finding_arn = detail["findingArn"].take();
    assert!(finding_arn.as_str().unwrap().contains(":finding/"));
    assert_eq!(
        detail,
        json!({
            "awsAccountId": "111122223333",
            "description": "synthetic finding CVE-2026-0001",
            "epss": {"score": 0.42},
            "exploitAvailable": "YES",
            "exploitabilityDetails": {"lastKnownExploitAt": "Wed Sep 04 16:55:38.411 UTC 2024"},
            "findingArn": null,
            "firstObservedAt": "Wed Sep 04 16:55:38.411 UTC 2024",
            "fixAvailable": "PARTIAL",
            "inspectorScore": 9.8,
            "inspectorScoreDetails": {"adjustedCvss": {
                "adjustments": [],
                "cvssSource": "NVD",
                "score": 9.8,
                "scoreSource": "NVD",
                "scoringVector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
                "version": "3.1",
            }},
            "lastObservedAt": now,
            "packageVulnerabilityDetails": {
                "cvss": [],
                "referenceUrls": [],
                "relatedVulnerabilities": [],
                "source": "NVD",
                "sourceUrl": "https://cve.example/CVE-2026-0001",
                "vendorSeverity": "critical",
                "vulnerabilityId": "CVE-2026-0001",
                "vulnerablePackages": [{
                    "epoch": 0,
                    "name": "libexample",
                    "packageManager": "OS",
                    "version": "1.0",
                    "fixedInVersion": "0:1.1",
                }],
            },
            "remediation": {"recommendation": {"text": "None Provided"}},
            "resources": [{
                "details": {"awsEcrContainerImage": {
                    "architecture": "amd64",
                    "imageHash": digest,
                    "imageTags": ["3.0.0"],
                    "inUseCount": 4,
                    "lastInUseAt": now,
                    "platform": "DEBIAN_12",
                    "pushedAt": now,
                    "registry": "111122223333",
                    "repositoryName": "team/app",
                }},
                "id": arn,
                "partition": "aws",
                "region": "eu-west-1",
                "type": "AWS_ECR_CONTAINER_IMAGE",
            }],
            "severity": "CRITICAL",
            "status": "ACTIVE",
            "title": "CVE-2026-0001 - libexample",
            "type": "PACKAGE_VULNERABILITY",
            "updatedAt": now,
        })
    );

    // The same finding closed, and one of an image that is gone.
    scene.sim.emit_finding(&scene.repo, &digest, &finding, "CLOSED");
    scene.sim.delete_image(&scene.repo, &digest);
    scene.sim.emit_finding(&scene.repo, &digest, &finding, "SUPPRESSED");
    assert_eq!(scene.sim.queue("findings").visible, 3);
    let details = scene.details(FINDING);
    assert_eq!(
        (&details[3]["status"], &details[3]["findingArn"]),
        (&json!("CLOSED"), &finding_arn)
    );
    assert_eq!(details[4]["status"], "SUPPRESSED");
    let container = &details[4]["resources"][0]["details"]["awsEcrContainerImage"];
    assert_eq!(container["imageTags"], json!([]));
}
