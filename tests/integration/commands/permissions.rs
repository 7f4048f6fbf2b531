//! `tagwarden check --live` tries permissions and changes nothing.

use aws_sim::{FaultRule, ScanResult};
use serde_json::{Value, json};

use super::support::{ACCOUNT, QUEUE, REGION, World};

/// Each operation that the worker calls, and the permission that it needs.
const PERMISSIONS: [(&str, &str); 20] = [
    ("GetQueueAttributes", "sqs:GetQueueAttributes"),
    ("ReceiveMessage", "sqs:ReceiveMessage"),
    ("DeleteMessageBatch", "sqs:DeleteMessage"),
    ("ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"),
    ("SendMessageBatch", "sqs:SendMessage"),
    ("GetTopicAttributes", "sns:GetTopicAttributes"),
    ("Publish", "sns:Publish"),
    ("DescribeImages", "ecr:DescribeImages"),
    ("DescribeImageScanFindings", "ecr:DescribeImageScanFindings"),
    ("BatchGetImage", "ecr:BatchGetImage"),
    ("DescribePullThroughCacheRules", "ecr:DescribePullThroughCacheRules"),
    ("DescribeRegistry", "ecr:DescribeRegistry"),
    ("DescribeRepositories", "ecr:DescribeRepositories"),
    ("StartImageScan", "ecr:StartImageScan"),
    ("GetLifecyclePolicy", "ecr:GetLifecyclePolicy"),
    ("PutImage", "ecr:PutImage"),
    ("InitiateLayerUpload", "ecr:InitiateLayerUpload"),
    ("UploadLayerPart", "ecr:UploadLayerPart"),
    ("CompleteLayerUpload", "ecr:CompleteLayerUpload"),
    ("BatchDeleteImage", "ecr:BatchDeleteImage"),
];

/// A world with images and tags that a wrong call would change.
async fn full(config: &str) -> World {
    let world = World::with(config).await;
    world.image(&["1.0", "latest"], ScanResult::basic(&[("CRITICAL", 1)]));
    world.sim.send(QUEUE, "a message");
    world
}

fn state(world: &World) -> String {
    let sim = &world.sim;
    let (queue, dead) = (sim.queue(QUEUE), sim.queue("tagwarden-dlq"));
    let images = (sim.images(&world.repository), sim.repository_tags(&world.repository));
    format!("{queue:?} {dead:?} {images:?} {:?}", sim.notices(&world.topic))
}

async fn permissions(world: &World) -> (i32, Vec<Value>) {
    let before = state(world);
    let shown = world.run(&["check", "--live", "--format", "json"], "").await;
    assert_eq!(state(world), before);
    let report = shown.json();
    (shown.code, report["permissions"].as_array().expect("permissions").clone())
}

fn with_result<'a>(permissions: &'a [Value], result: &str) -> Vec<&'a str> {
    let those = permissions.iter().filter(|one| one["result"] == result);
    those.map(|one| one["action"].as_str().expect("an action")).collect()
}

#[tokio::test]
async fn granted_permissions_are_found_and_nothing_is_changed() {
    // The second is the repository that contains the image.
    for config in ["", "policy.repositories.include = ['team/app']"] {
        let world = full(config).await;
        let (code, permissions) = permissions(&world).await;
        assert_eq!(code, 0);
        let granted = with_result(&permissions, "granted");
        assert_eq!(granted.len(), permissions.len());
        for (operation, action) in PERMISSIONS {
            assert!(granted.contains(&action), "{action}");
            assert!(!world.sim.calls_of(operation).is_empty(), "{operation}");
        }
    }
}

#[tokio::test]
async fn text_output_lists_granted_and_missing_permissions() {
    let world = full("").await;
    let tail = |shown: &str| {
        let from = shown.find("\nPermissions").expect("permissions");
        shown[from..].to_owned()
    };
    let shown = world.run(&["check", "--live"], "").await;
    assert_eq!(shown.code, 0);
    let granted = tail(&shown.stdout);
    world.sim.set_faults(FaultRule::on("PutImage").error("AccessDeniedException"));
    let shown = world.run(&["check", "--live"], "").await;
    assert_eq!(shown.code, 1);
    let text = format!("{granted}\n\n--- without ecr:PutImage\n{}", tail(&shown.stdout));
    insta::assert_snapshot!(without_ids(&text));
}

/// Removes the request ids, because they depend on the number of earlier calls.
fn without_ids(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" (request id") {
        Some((line, _)) => format!("{line} (request id ...)"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn each_missing_permission_is_named() {
    for (operation, action) in PERMISSIONS {
        let world = full("").await;
        world.sim.set_faults(FaultRule::on(operation).error("AccessDeniedException"));
        let (code, permissions) = permissions(&world).await;
        assert_eq!(code, 1, "{action}");
        assert_eq!(with_result(&permissions, "missing"), [action]);
        assert_eq!(with_result(&permissions, "granted").len(), PERMISSIONS.len() - 1, "{action}");
    }
}

#[tokio::test]
async fn permissions_to_change_images_are_tried_if_a_rule_enforces() {
    let rule = "policy.mode = 'audit'\npolicy.repositories.include = ['team/*', '{a,b}/[xy]']\n\
                [[policy.rules]]\nmode = 'enforce'\nrepositories = ['team/prod/*']";
    for (config, changed) in [
        ("policy.mode = 'audit'", &[][..]),
        (rule, &["repository team/prod/tagwarden-check in 111122223333 eu-west-1"]),
    ] {
        let world = full(config).await;
        let (code, permissions) = permissions(&world).await;
        assert_eq!(code, 0);
        let puts = permissions.iter().filter(|one| one["action"] == "ecr:PutImage");
        let on: Vec<_> = puts.map(|one| one["resource"].as_str().expect("text")).collect();
        assert_eq!(on, changed);
        assert!(with_result(&permissions, "granted").contains(&"ecr:DescribeImages"), "{config}");
    }
}

#[tokio::test]
async fn permissions_to_write_records_are_tried_if_something_is_recorded() {
    let senders = "restore.senders = ['AROAEXAMPLEID12345678']";
    for (config, tried) in [
        ("", &["ecr:PutImage", "ecr:UploadLayerPart", "ecr:BatchDeleteImage"][..]),
        ("registry.records = 'off'", &["ecr:PutImage", "ecr:BatchDeleteImage"]),
        ("policy.mode = 'audit'", &[]),
        (&format!("policy.mode = 'audit'\n{senders}"), &["ecr:PutImage", "ecr:UploadLayerPart"]),
    ] {
        let world = full(config).await;
        let (code, permissions) = permissions(&world).await;
        assert_eq!(code, 0);
        let granted = with_result(&permissions, "granted");
        for action in ["ecr:PutImage", "ecr:UploadLayerPart", "ecr:BatchDeleteImage"] {
            assert_eq!(granted.contains(&action), tried.contains(&action), "{config}: {action}");
        }
        let reads = granted.contains(&"ecr:GetLifecyclePolicy");
        assert_eq!(reads, !config.contains("off"), "{config}");
    }
}

async fn warnings(world: &World) -> Vec<String> {
    let report = world.run(&["check", "--live", "--format", "json"], "").await.json();
    let warnings = report["warnings"].as_array().expect("warnings").iter();
    warnings.map(|one| one["message"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn lifecycle_rules_that_may_expire_records_or_quarantined_images_are_warned_of() {
    let rule = |selection: &str, action: &str| {
        format!(
            r#"{{"rules": [{{"rulePriority": 7, "selection": {{{selection}, "countType":
            "imageCountMoreThan", "countNumber": 10}}, "action": {{"type": "{action}"}}}}]}}"#
        )
    };
    let named = "rule 7 of the lifecycle policy of repository team/app in 111122223333 eu-west-1";
    for (selection, action, warned) in [
        (r#""tagStatus": "untagged""#, "expire", Some("untagged images. It may expire records")),
        (r#""tagStatus": "any""#, "expire", Some("images with any tags or none. It may expire")),
        (
            r#""tagStatus": "tagged", "tagPatternList": ["quarantine-*"]"#,
            "expire",
            Some("images with a quarantine tag, the oldest push first"),
        ),
        (r#""tagStatus": "tagged", "tagPatternList": ["*"]"#, "expire", Some("quarantine tag")),
        (r#""tagStatus": "tagged", "tagPrefixList": ["quar"]"#, "expire", Some("quarantine tag")),
        (r#""tagStatus": "tagged", "tagPatternList": ["pr-*"]"#, "expire", None),
        (r#""tagStatus": "tagged", "tagPrefixList": ["quar", "pr"]"#, "expire", None),
        (r#""tagStatus": "any""#, "transition", None),
    ] {
        let world = full("").await;
        world.sim.set_lifecycle_policy(&world.repository, &rule(selection, action));
        let warnings = warnings(&world).await;
        assert_eq!(warnings.len(), usize::from(warned.is_some()), "{selection}: {warnings:?}");
        if let Some(warned) = warned {
            let expected = format!("{named} expires ");
            assert!(warnings[0].starts_with(&expected), "{warnings:?}");
            assert!(warnings[0].contains(warned), "{warnings:?}");
        }
    }
}

#[tokio::test]
async fn lifecycle_policies_are_read_of_covered_repositories_and_only_if_records_are_written() {
    let any = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any"}}]}"#;
    for (config, warned) in [
        ("policy.mode = 'audit'", 1),
        ("policy.mode = 'audit'\npolicy.repositories.exclude = ['team/app']", 0),
        ("policy.mode = 'audit'\nregistry.records = 'off'", 0),
    ] {
        let world = full(config).await;
        world.sim.set_lifecycle_policy(&world.repository, any);
        let warnings = warnings(&world).await;
        let about = warnings.iter().filter(|one| one.contains("lifecycle policy")).count();
        assert_eq!(about, warned, "{config}: {warnings:?}");
    }
    let world = full("").await;
    world.sim.set_lifecycle_policy(&world.repository, "no JSON");
    let unread = "number of lifecycle policies that were not read: 1";
    assert_eq!(warnings(&world).await, [unread]);
}

#[tokio::test]
async fn permission_to_scan_is_tried_if_sweeps_start_scans() {
    for (config, tried) in [
        ("policy.mode = 'audit'", true),
        ("sweep.rescan_after = '7d'", true),
        ("sweep.rescan_after = 'never'", false),
    ] {
        let world = full(config).await;
        let (code, permissions) = permissions(&world).await;
        assert_eq!(code, 0);
        let granted = with_result(&permissions, "granted").contains(&"ecr:StartImageScan");
        let called = !world.sim.calls_of("StartImageScan").is_empty();
        assert_eq!((granted, called), (tried, tried), "{config}");
    }
}

#[tokio::test]
async fn every_account_and_region_is_tried_with_its_role() {
    let world = full(
        "policy.accounts = ['111122223333', '444455556666']
        policy.regions = ['eu-west-1', 'us-east-1']
        aws.assume_role = 'arn:aws:iam::{account}:role/tagwarden'",
    )
    .await;
    let (code, permissions) = permissions(&world).await;
    assert_eq!(code, 0);
    let describes = permissions.iter().filter(|one| one["action"] == "ecr:DescribeImages");
    assert_eq!(describes.count(), 4);
    let calls = world.sim.calls_of("DescribeImages");
    assert!(calls.iter().any(|call| call.account == "444455556666" && call.region == "us-east-1"));
    assert!(calls.iter().any(|call| call.account == ACCOUNT && call.region == REGION));
}

/// The names and resources of the key statements.
async fn keys(world: &World) -> Vec<(String, Value)> {
    let report = world.run(&["check", "--live", "--format", "json"], "").await.json();
    let statements = report["policies"][0]["policy"]["Statement"].as_array().expect("statements");
    let name = |statement: &Value| statement["Sid"].as_str().expect("a name").to_owned();
    let keys = statements.iter().filter(|statement| statement["Action"][0] == "kms:Decrypt");
    let keys = keys.inspect(|statement| assert_eq!(statement["Action"][1], "kms:GenerateDataKey"));
    keys.map(|statement| (name(statement), statement["Resource"].clone())).collect()
}

#[tokio::test]
async fn customer_managed_keys_of_queue_and_topic_are_named() {
    let world = full("").await;
    assert_eq!(keys(&world).await, []);

    let key = "arn:aws:kms:eu-west-1:111122223333:key/1234";
    for (id, resource) in
        [(key, key), ("1234", key), ("alias/team", "arn:aws:kms:eu-west-1:111122223333:key/*")]
    {
        let world = full("").await;
        world.sim.create_queue(QUEUE, &[("KmsMasterKeyId", id)]);
        assert_eq!(keys(&world).await, [("QueueKey".to_owned(), json!([resource]))], "{id}");
    }
    for managed in ["alias/aws/sqs", ""] {
        let world = full("").await;
        world.sim.create_queue(QUEUE, &[("KmsMasterKeyId", managed)]);
        assert_eq!(keys(&world).await, [], "{managed}");
    }

    let world = full("").await;
    let encrypted = FaultRule::on("GetTopicAttributes").replace(|reply| {
        reply["Attributes"]["KmsMasterKeyId"] = json!("1234");
    });
    world.sim.set_faults(encrypted);
    assert_eq!(keys(&world).await, [("TopicKeys".to_owned(), json!([key]))]);
}

#[tokio::test]
async fn unreachable_service_is_not_tried_again() {
    let world = full("").await;
    world.sim.set_faults(FaultRule::always().reset());
    let shown = world.run(&["check", "--live"], "").await;
    assert!(shown.complaint(1).contains("AWS_ENDPOINT_URL"), "{shown:?}");
    assert!(world.sim.calls().len() <= 3, "{:?}", world.sim.calls());
}

#[tokio::test]
async fn inconclusive_answer_does_not_count_as_granted() {
    let world = full("").await;
    world.sim.set_faults(FaultRule::on("BatchGetImage").error("ServerException"));
    let (code, permissions) = permissions(&world).await;
    assert_eq!((code, with_result(&permissions, "unknown")), (1, vec!["ecr:BatchGetImage"]));
}

#[tokio::test]
async fn missing_queue_or_topic_is_not_a_missing_permission() {
    let world = full("").await;
    world.sim.delete_queue(QUEUE);
    world.sim.delete_topic(&world.topic);
    let shown = world.run(&["check", "--live"], "").await;
    assert_eq!(shown.code, 1);
    for said in [
        "create the queue, or correct queue.url",
        "create the topic, or correct its ARN",
        "7 of 20 permissions could not be tried",
    ] {
        assert!(shown.stdout.contains(said), "{said}: {}", shown.stdout);
    }
}

#[tokio::test]
async fn role_that_cannot_be_assumed_is_named_once() {
    let world = full(
        "policy.accounts = ['444455556666']\npolicy.regions = ['eu-west-1', 'us-east-1']\naws.assume_role = 'arn:aws:iam::{account}:role/tagwarden'",
    )
    .await;
    world.sim.set_faults(FaultRule::on("AssumeRole").error("AccessDenied"));
    let (code, permissions) = permissions(&world).await;
    assert_eq!(code, 1);
    assert_eq!(with_result(&permissions, "missing"), ["sts:AssumeRole"], "{permissions:#?}");
    assert_eq!(with_result(&permissions, "granted").len(), 7, "{permissions:#?}");
    let last = permissions.last().expect("a permission");
    assert_eq!(last["resource"], "aws.assume_role in 444455556666");
    assert_eq!(world.sim.calls_of("DescribeImages"), []);
}
