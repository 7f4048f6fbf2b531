//! The rights of people and of CloudFormation, compared with the commands that the documentation
//! has them type and with what CloudFormation says that it calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::tools::{Tools, list, of_type, path, text};

const BOUNDARY: &str = "PermissionsBoundaryArn=arn:aws:iam::111122223333:policy/boundary";
const KEYS: &str = "KmsKeyArns=arn:aws:kms:eu-west-1:111122223333:key/1234abcd";

/// Who types a command.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    OnCall,
    Deployer,
    /// Either of them.
    Both,
    /// Somebody with rights of his own, for the reason given.
    Other(&'static str),
}
use Who::{Both, Deployer, OnCall, Other};

const MANAGEMENT: &str = "who administers the organization";
const DELEGATED: &str = "who administers StackSets: it gives rights in all accounts";

/// Each command of the documentation, who types it, and the actions that it takes. A new command
/// has to be added here, and what it takes to the policy.
const COMMANDS: &[(&str, Who, &[&str])] = &[
    (
        "application-autoscaling register-scalable-target",
        OnCall,
        &["application-autoscaling:RegisterScalableTarget"],
    ),
    (
        "appconfig create-hosted-configuration-version",
        Deployer,
        &["appconfig:CreateHostedConfigurationVersion"],
    ),
    ("appconfig get-deployment", Deployer, &["appconfig:GetDeployment"]),
    ("appconfig list-deployments", Deployer, &["appconfig:ListDeployments"]),
    (
        "appconfig list-hosted-configuration-versions",
        Deployer,
        &["appconfig:ListHostedConfigurationVersions"],
    ),
    ("appconfig start-deployment", Deployer, &["appconfig:StartDeployment"]),
    ("chatbot create-custom-action", Other("who administers the chat"), &[]),
    ("cloudformation describe-change-set", Deployer, &["cloudformation:DescribeChangeSet"]),
    (
        "cloudformation deploy",
        Deployer,
        &[
            "cloudformation:CreateChangeSet",
            "cloudformation:DescribeChangeSet",
            "cloudformation:DescribeStacks",
            "cloudformation:ExecuteChangeSet",
            "iam:PassRole",
            "s3:GetObject",
            "s3:PutObject",
        ],
    ),
    ("cloudformation activate-organizations-access", Other(MANAGEMENT), &[]),
    ("cloudformation create-stack-instances", Other(DELEGATED), &[]),
    ("cloudformation create-stack-set", Other(DELEGATED), &[]),
    ("cloudformation delete-stack-instances", Other(DELEGATED), &[]),
    ("cloudformation delete-stack-set", Other(DELEGATED), &[]),
    ("cloudformation delete-stack", Other("an administrator: it ends the service"), &[]),
    ("cloudformation describe-stack-events", Deployer, &["cloudformation:DescribeStackEvents"]),
    ("cloudformation describe-stack-resource", Deployer, &["cloudformation:DescribeStackResource"]),
    ("cloudformation describe-stacks", Both, &["cloudformation:DescribeStacks"]),
    (
        "cloudformation detect-stack-drift",
        Other("somebody who may read all resources: it reads each in the caller's name"),
        &[],
    ),
    ("cloudformation list-stack-instances", Other(DELEGATED), &[]),
    ("cloudformation update-stack-set", Other(DELEGATED), &[]),
    ("cloudformation update-stack", Deployer, &["cloudformation:UpdateStack", "iam:PassRole"]),
    ("cloudformation wait", Other("as delete-stack"), &[]),
    ("cloudwatch describe-alarms", OnCall, &["cloudwatch:DescribeAlarms"]),
    ("cloudwatch disable-alarm-actions", OnCall, &["cloudwatch:DisableAlarmActions"]),
    ("cloudwatch enable-alarm-actions", OnCall, &["cloudwatch:EnableAlarmActions"]),
    ("ec2 describe-subnets", Other("once, an administrator"), &[]),
    // They need no permission.
    ("configure export-credentials", Both, &[]),
    ("configure get", Both, &[]),
    ("ecr batch-delete-image", Other("who owns the repository"), &[]),
    ("ecr batch-get-image", Other("the pipeline's role that builds"), &[]),
    ("ecr create-repository", Other("once, an administrator"), &[]),
    ("ecr describe-image-replication-status", OnCall, &["ecr:DescribeImageReplicationStatus"]),
    (
        "ecr describe-image-scan-findings",
        OnCall,
        // ECR asks Inspector in the caller's name.
        &["ecr:DescribeImageScanFindings", "inspector2:ListCoverage", "inspector2:ListFindings"],
    ),
    ("ecr describe-image-signing-status", Other("the pipeline's role that judges"), &[]),
    ("ecr describe-images", OnCall, &["ecr:DescribeImages"]),
    ("ecr get-login-password", Deployer, &["ecr:GetAuthorizationToken"]),
    ("ecr get-registry-scanning-configuration", OnCall, &["ecr:GetRegistryScanningConfiguration"]),
    ("ecr put-registry-scanning-configuration", Other("once, an administrator"), &[]),
    ("ecr put-image", Other("the pipeline's role that builds"), &[]),
    ("ecr register-pull-time-update-exclusion", Other("once, an administrator"), &[]),
    ("ecs describe-services", Both, &["ecs:DescribeServices"]),
    ("ecs describe-task-definition", Deployer, &["ecs:DescribeTaskDefinition"]),
    ("ecs describe-tasks", Both, &["ecs:DescribeTasks"]),
    ("ecs list-tasks", Both, &["ecs:ListTasks"]),
    ("ecs update-service", Both, &["ecs:UpdateService"]),
    ("ecs wait", Both, &["ecs:DescribeServices"]),
    ("events disable-rule", OnCall, &["events:DisableRule", "events:EnableRule"]),
    ("events list-rule-names-by-target", OnCall, &["events:ListRuleNamesByTarget"]),
    ("iam create-service-linked-role", Other("once, an administrator"), &[]),
    ("iam get-role", Other("who owns the role of the chat channel"), &[]),
    ("inspector2 batch-get-account-status", OnCall, &["inspector2:BatchGetAccountStatus"]),
    ("logs get-query-results", OnCall, &["logs:GetQueryResults"]),
    ("logs start-query", OnCall, &["logs:StartQuery"]),
    ("logs tail", OnCall, &["logs:FilterLogEvents"]),
    ("s3 cp", OnCall, &["s3:GetObject", "s3:ListBucket"]),
    ("s3 ls", OnCall, &["s3:ListBucket"]),
    ("scheduler get-schedule", OnCall, &["scheduler:GetSchedule"]),
    (
        "secretsmanager get-secret-value",
        Other("who keeps the key, and neither of the two: with it one forges records"),
        &[],
    ),
    (
        "secretsmanager list-secret-version-ids",
        Other("who keeps the configuration in a secret, which only they may change"),
        &[],
    ),
    ("secretsmanager put-secret-value", Other("who keeps the key"), &[]),
    ("sns list-subscriptions-by-topic", Both, &["sns:ListSubscriptionsByTopic"]),
    ("sqs delete-message", OnCall, &["sqs:DeleteMessage"]),
    ("sqs get-queue-attributes", OnCall, &["sqs:GetQueueAttributes"]),
    ("sqs list-message-move-tasks", OnCall, &["sqs:ListMessageMoveTasks"]),
    ("sqs purge-queue", OnCall, &["sqs:PurgeQueue"]),
    ("sqs receive-message", OnCall, &["sqs:ReceiveMessage"]),
    ("sqs send-message", OnCall, &["sqs:SendMessage"]),
    ("organizations describe-organization", Other(DELEGATED), &[]),
    ("organizations register-delegated-administrator", Other(MANAGEMENT), &[]),
    (
        "sqs start-message-move-task",
        OnCall,
        // SQS moves in the caller's name (SQS developer guide, "Configuring a dead-letter queue
        // redrive").
        &[
            "sqs:CancelMessageMoveTask",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
            "sqs:StartMessageMoveTask",
        ],
    ),
    ("ssm get-parameters", Deployer, &["ssm:GetParameters"]),
    ("ssm get-parameters-by-path", Deployer, &["ssm:GetParametersByPath"]),
    ("ssm put-parameter", Deployer, &["ssm:PutParameter"]),
    ("sso login", Other("everybody"), &[]),
    ("sts assume-role", Other("operators, into their role"), &[]),
    // It needs no permission.
    ("sts get-caller-identity", Both, &[]),
    ("xray batch-get-traces", OnCall, &["xray:BatchGetTraces"]),
];

/// What is granted beyond the commands, and why.
const BEYOND: &[(Who, &str, &[&str])] = &[
    (
        OnCall,
        "the dashboard and the figures of alarms in the console",
        &["cloudwatch:GetDashboard", "cloudwatch:GetMetricData"],
    ),
    (
        Deployer,
        "docker push",
        &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ],
    ),
    (Deployer, "the text before, to put it back", &["ssm:GetParameter", "ssm:GetParameterHistory"]),
    (
        Deployer,
        "why a deployment failed, and the stack's tags",
        &["cloudformation:DescribeEvents", "cloudformation:TagResource"],
    ),
];

/// Every `aws SERVICE COMMAND` of the documentation and of the scripts that it names.
/// deploy/verify-aws.sh says itself what it needs.
fn documented() -> BTreeSet<String> {
    let mut files = vec!["README.md".to_owned()];
    for folder in ["docs", "deploy"] {
        for entry in fs::read_dir(path(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            let wanted = name.ends_with(".md") || name.ends_with(".sh") && name != "verify-aws.sh";
            files.extend(wanted.then(|| format!("{folder}/{name}")));
        }
    }
    let model: BTreeSet<&str> =
        COMMANDS.iter().filter_map(|(command, ..)| command.split(' ').next()).collect();
    let mut found = BTreeSet::new();
    for file in files {
        for part in text(&file).split("aws ").skip(1) {
            let word = |text: &str| -> String {
                text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
            };
            let service = word(part);
            let command = part.strip_prefix(&*service).and_then(|rest| rest.strip_prefix(' '));
            let command = command.map(word).unwrap_or_default();
            // Prose such as "the aws command line" is not a command. A service that is new here is
            // named by its options.
            let known = model.contains(&*service) || part.lines().next().is_some_and(options);
            if !command.is_empty() && known {
                found.insert(format!("{service} {command}"));
            }
        }
    }
    found
}

/// Whether a line has options of a command.
fn options(line: &str) -> bool {
    line.split(' ').take(5).any(|word| word.starts_with("--"))
}

/// The actions that a statement allows, by all statements of a policy.
fn actions(document: &Value) -> BTreeSet<String> {
    let statements = list(&document["Statement"]).iter();
    statements
        .inspect(|statement| assert_eq!(statement["Effect"], "Allow"))
        .flat_map(|statement| list(&statement["Action"]))
        .map(|action| action.as_str().expect("text").to_owned())
        .collect()
}

fn policy<'a>(stack: &'a Value, name: &str) -> &'a Value {
    &stack["resources"][name]["Properties"]["PolicyDocument"]
}

#[test]
fn every_documented_command_is_somebodys() {
    let known: BTreeSet<_> = COMMANDS.iter().map(|(command, ..)| (*command).to_owned()).collect();
    let documented = documented();
    assert!(documented.len() > 30, "{documented:#?}");
    let new: Vec<_> = documented.difference(&known).collect();
    assert!(new.is_empty(), "say in COMMANDS who types these: {new:?}");
    let gone: Vec<_> = known.difference(&documented).collect();
    assert!(gone.is_empty(), "nobody types these any more: {gone:?}");
    for (command, who, _) in COMMANDS {
        assert!(!matches!(who, Other(reason) if reason.is_empty()), "{command}");
    }
}

#[test]
fn people_may_do_what_the_documentation_has_them_type_and_no_more() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.access(&[]);
    for (name, me) in [("OnCallPolicy", OnCall), ("DeployerPolicy", Deployer)] {
        let mine = |who: &Who| *who == me || *who == Both && !matches!(me, Other(_));
        let commands = COMMANDS.iter().filter(|(_, who, _)| mine(who)).map(|(.., actions)| actions);
        let beyond = BEYOND.iter().filter(|(who, ..)| mine(who)).map(|(.., actions)| actions);
        let asked: BTreeSet<_> = commands
            .chain(beyond)
            .flat_map(|some| some.iter().map(|one| (*one).to_owned()))
            .collect();
        assert_eq!(actions(policy(&stack, name)), asked, "{name}");
    }
    // With keys of one's own also what their services need, by these services alone.
    let stack = tools.access(&[KEYS]);
    for name in ["OnCallPolicy", "DeployerPolicy"] {
        let statements = list(&policy(&stack, name)["Statement"]);
        let keys: Vec<_> = statements.iter().filter(|one| one["Sid"] == "Keys").collect();
        let [keys] = keys[..] else { panic!("{name}") };
        assert!(keys["Condition"]["StringLike"]["kms:ViaService"].is_array(), "{keys:#}");
    }
}

#[test]
fn those_on_call_change_no_image_no_right_and_no_secret() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.access(&[KEYS]);
    for action in actions(policy(&stack, "OnCallPolicy")) {
        let (service, name) = action.split_once(':').expect("an action");
        let reads = ["Describe", "Get", "List", "BatchGet", "Filter", "StartQuery"];
        let reads = reads.iter().any(|start| name.starts_with(start));
        let changes = ["application-autoscaling", "cloudwatch", "ecs", "events", "kms", "sqs"];
        assert!(reads || changes.contains(&service), "{action}");
    }
}

#[test]
fn rights_reach_what_is_named_after_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.access(&["WorkerStackName=other", KEYS]);
    let role = &stack["resources"]["CloudFormationRole"]["Properties"]["Policies"];
    let documents = list(role).iter().map(|one| &one["PolicyDocument"]);
    let people = ["OnCallPolicy", "DeployerPolicy"].map(|name| policy(&stack, name));
    for statement in documents.chain(people).flat_map(|document| list(&document["Statement"])) {
        let sid = statement["Sid"].as_str().expect("a name");
        let resources = statement["Resource"].as_array().cloned();
        for resource in resources.unwrap_or_else(|| vec![statement["Resource"].clone()]) {
            let resource = resource.as_str().expect("an ARN").to_owned();
            // These are narrowed by a condition, or name what another stack or nobody names.
            let elsewhere = [
                "AppConfig",
                "Configuration",
                "HandRoleToCloudFormation",
                "Images",
                "Keys",
                "LoadBalancer",
                "LogIn",
                "Look",
                "Network",
                "Push",
                "RestoreKey",
                "ScalingTags",
                "ServiceLinkedRoles",
                "Template",
                "WithoutResources",
            ];
            let narrowed = resource == "*" && !statement["Condition"].is_null();
            assert!(
                resource.contains("other") || narrowed || elsewhere.contains(&sid),
                "{sid}: {resource}"
            );
        }
    }
}

#[test]
fn a_boundary_binds_every_role_that_cloudformation_makes() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.access(&[BOUNDARY]);
    let role = &stack["resources"]["CloudFormationRole"]["Properties"];
    assert_eq!(role["PermissionsBoundary"], "arn:aws:iam::111122223333:policy/boundary");
    let mut bound = 0;
    for statement in list(&role["Policies"][0]["PolicyDocument"]["Statement"]) {
        for action in list(&statement["Action"]) {
            // What gives a role rights needs the boundary. What takes some away needs none.
            if ["iam:CreateRole", "iam:PutRolePolicy"].iter().any(|one| action == one) {
                let needed = &statement["Condition"]["StringEquals"]["iam:PermissionsBoundary"];
                assert_eq!(*needed, "arn:aws:iam::111122223333:policy/boundary");
                bound += 1;
            }
            assert!(
                action != "iam:AttachRolePolicy" && action != "iam:DeleteRolePermissionsBoundary"
            );
        }
    }
    assert_eq!(bound, 2);
}

/// Actions of CloudFormation's handlers that the stack does not need: beginnings of them, and why.
const NOT_NEEDED: &[(&str, &[&str])] = &[
    (
        "properties that the template does not use",
        &[
            "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:PutScheduledAction",
            "cognito-idp:",
            "ec2:AcceptAddressTransfer",
            "ec2:AssignPrivateNatGatewayAddress",
            "ec2:AssociateAddress",
            "ec2:AssociateNatGatewayAddress",
            "ec2:DisassociateNatGatewayAddress",
            "ec2:UnassignPrivateNatGatewayAddress",
            "ecs:PutAccountSetting",
            "ecs:PutClusterCapacityProviders",
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:RegisterTargets",
            "firehose:",
            "iam:AttachRolePolicy",
            "iam:DetachRolePolicy",
            "lambda:",
            "logs:CreateLogDelivery",
            "logs:DeleteDataProtectionPolicy",
            "logs:DeleteIndexPolicy",
            "logs:DescribeIndexPolicies",
            "logs:GetDataProtectionPolicy",
            "logs:PutBearerTokenAuthentication",
            "logs:PutDataProtectionPolicy",
            "logs:PutIndexPolicy",
            "logs:PutLogGroupDeletionProtection",
            "s3:CreateBucketMetadata",
            "s3:DeleteBucketA",
            "s3:DeleteBucketC",
            "s3:DeleteBucketEncryption",
            "s3:DeleteBucketLifecycle",
            "s3:DeleteBucketM",
            "s3:DeleteBucketReplication",
            "s3:DeleteBucketWebsite",
            "s3:DeleteObject",
            "s3:PutAccelerate",
            "s3:PutAnalytics",
            "s3:PutBucketA",
            "s3:PutBucketCORS",
            "s3:PutBucketNotification",
            "s3:PutBucketReplication",
            "s3:PutBucketWebsite",
            "s3:PutIntelligentTiering",
            "s3:PutInventory",
            "s3:PutMetrics",
            "s3:PutObjectAcl",
            "s3:PutReplication",
            "s3:REST.",
            "s3:UpdateBucketMetadata",
            "s3tables:",
            "secretsmanager:RemoveRegionsFromReplication",
            "secretsmanager:ReplicateSecretToRegions",
            "sns:PutDataProtectionPolicy",
            "vpc-lattice:",
            "vpce:",
        ],
    ),
    ("the bucket outlives the stack", &["s3:DeleteBucket"]),
    (
        "a boundary that could be taken away would bind nobody",
        &["iam:DeleteRolePermissionsBoundary"],
    ),
    (
        "only to fill in a value that nobody asks for: it is a secret",
        &["secretsmanager:GetSecretValue"],
    ),
    ("not actions of IAM", &["s3:PutObjectLockConfiguration"]),
    ("with keys of one's own, by KmsKeyArns", &["kms:"]),
];

#[test]
fn cloudformation_may_do_what_its_handlers_call_and_little_more() {
    let Some(tools) = Tools::new() else { return };
    let called = tools.json(&["tests/deploy/handlers.py", "deploy/tagwarden.yaml"], "");
    let called: BTreeMap<String, BTreeSet<String>> =
        serde_json::from_value(called).expect("actions by type");
    assert!(called.len() > 25, "{}", called.len());
    let stack = tools.access(&[]);
    let role = &stack["resources"]["CloudFormationRole"]["Properties"]["Policies"];
    let granted: BTreeSet<String> =
        list(role).iter().flat_map(|one| actions(&one["PolicyDocument"])).collect();
    // A wildcard is at the end, or before "Configuration".
    let matches = |granted: &str, action: &str| match granted.split_once('*') {
        Some((start, end)) => action.starts_with(start) && action.ends_with(end),
        None => granted == action,
    };
    let unneeded = |action: &str| {
        let all = NOT_NEEDED.iter().flat_map(|(_, starts)| starts.iter());
        all.copied().any(|start| action.starts_with(start))
    };
    for (kind, actions) in &called {
        for action in actions {
            let is_granted = granted.iter().any(|one| matches(one, action));
            assert!(is_granted || unneeded(action), "{kind} calls {action}");
            let twice = is_granted && unneeded(action) && action != "s3:DeleteBucketPolicy";
            assert!(!twice, "{action} is granted, and said not to be needed");
        }
    }
    // For resources that this template gets in time, and for reading the template.
    let more = [
        "logs:DeleteMetricFilter",
        "logs:DescribeMetricFilters",
        "logs:PutMetricFilter",
        "s3:GetObject",
    ];
    for one in &granted {
        let is_called = called.values().flatten().any(|action| matches(one, action));
        assert!(is_called || more.contains(&one.as_str()), "nothing calls {one}");
    }
}

#[test]
fn policies_are_no_longer_than_iam_allows() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.access(&[KEYS, BOUNDARY, "WorkerStackName=tagwarden-production"]);
    let length = |document: &Value| document.to_string().len();
    for (name, one) in of_type(&stack, "AWS::IAM::ManagedPolicy") {
        assert!(length(&one["PolicyDocument"]) <= 6_144, "{name}");
    }
    let (_, role) = of_type(&stack, "AWS::IAM::Role")[0];
    let inline: usize =
        list(&role["Policies"]).iter().map(|one| length(&one["PolicyDocument"])).sum();
    assert!(inline <= 10_240, "{inline}");
}
