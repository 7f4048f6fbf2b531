//! The grants of the roles equal what `tagwarden check` asks for and what the worker calls.

use std::collections::{BTreeMap, BTreeSet};

use aws_sim::{ScanResult, Sim};
use serde_json::{Value, json};
use tagwarden::aws::Operation;
use tokio::net::TcpListener;

use super::events::work_rules;
use super::sweep::input;
use super::task::{check, environment};
use super::tools::{Tools, list, of_type};
use crate::process::{Worker, variables, within_deadline};

const ACCOUNT: &str = "111122223333";
const KEY: &str = "KmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
const LOG_KEY: &str = "LogKmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/5678efab";
const REGIONS: &str = "Regions=us-east-1,eu-north-1";
const CHINESE_KEY: &str = "KmsKeyArn=arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd";
const MEMBERS: [&str; 2] =
    ["MemberAccounts=444455556666,777788889999", "MemberExternalId=external"];

/// The calls of router and collector in the task's role, and their resources.
const OTHER_CONTAINERS: [(&str, &[&str]); 4] = [
    (
        "logs:CreateLogStream",
        &[
            "arn:aws:logs:eu-west-1:111122223333:log-group:/tagwarden/tagwarden/worker:*",
            "arn:aws:logs:eu-west-1:111122223333:log-group:/tagwarden/tagwarden/metrics:*",
        ],
    ),
    (
        "logs:PutLogEvents",
        &[
            "arn:aws:logs:eu-west-1:111122223333:log-group:/tagwarden/tagwarden/worker:*",
            "arn:aws:logs:eu-west-1:111122223333:log-group:/tagwarden/tagwarden/metrics:*",
        ],
    ),
    ("s3:PutObject", &["arn:aws:s3:::tagwarden-audit-111122223333/audit/*"]),
    ("xray:PutTraceSegments", &["*"]),
];

fn others(region: &str, has_log_key: bool) -> Grants {
    let on = |on: &[&str]| on.iter().map(|on| on.replace("eu-west-1", region)).collect();
    let key = format!("arn:aws:kms:{region}:111122223333:key by s3.{region}.amazonaws.com");
    let key = ("kms:GenerateDataKey".to_owned(), BTreeSet::from([key]));
    OTHER_CONTAINERS
        .iter()
        .map(|(action, resources)| ((*action).to_owned(), on(resources)))
        .chain(has_log_key.then_some(key))
        .collect()
}

/// The actions that AWS performs for the worker, beyond the operations that the worker calls.
const DEPENDENT: [&str; 2] = ["inspector2:ListCoverage", "inspector2:ListFindings"];
/// The actions that everybody may call, and that nobody can be denied (STS API reference,
/// GetCallerIdentity).
const FOR_ALL: [&str; 1] = ["sts:GetCallerIdentity"];
/// The actions of `tagwarden check --live` alone.
const BY_CHECK: [&str; 1] = ["ecr:GetLifecyclePolicy"];
/// What puts an image or a record.
const PUTS: [&str; 4] =
    ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];
const OPERATORS: &str = "OperatorArns=arn:aws:iam::111122223333:role/on-call";
const OTHER_SENDERS: &str = "RestoreSenders=AROAEXAMPLECHAT000001,AIDAEXAMPLEID12345678";

/// Grants: resources and conditions by action.
type Grants = BTreeMap<String, BTreeSet<String>>;

fn texts(value: &Value) -> Vec<&str> {
    let one = std::slice::from_ref(value);
    let all = value.as_array().map_or(one, Vec::as_slice);
    all.iter().map(|text| text.as_str().expect("text")).collect()
}

/// The grants of a policy. The template writes an account as a condition, and leaves partitions
/// open if CloudFormation cannot put them into each item of a list.
fn grants(document: &Value) -> Grants {
    let mut grants = Grants::new();
    for statement in list(&document["Statement"]) {
        if statement["Effect"] == "Deny" {
            continue;
        }
        assert_eq!(statement["Effect"], "Allow");
        let mut condition = statement.get("Condition").cloned().unwrap_or_default();
        let account = &condition["StringEquals"]["aws:ResourceAccount"];
        let accounts: Vec<Option<String>> = match account {
            Value::Null => vec![None],
            accounts => texts(accounts).into_iter().map(|one| Some(one.to_owned())).collect(),
        };
        // So are Regions, because a list cannot be made of each Region with each name.
        let regions = condition.pointer("/StringEquals/aws:RequestedRegion").cloned();
        let regions = regions.as_ref().map_or_else(|| vec!["*"], |some| texts(some));
        if accounts != [None] {
            condition = Value::Null;
        }
        for action in texts(&statement["Action"]) {
            assert!(!action.contains('*'), "{action}");
            let resources = texts(&statement["Resource"]);
            let each =
                accounts.iter().flat_map(|account| resources.iter().map(move |on| (account, *on)));
            for (account, resource) in each {
                let mut parts: Vec<_> = resource.splitn(6, ':').collect();
                if let [_, partition, service, _, owner, _] = &mut parts[..] {
                    *partition = "aws";
                    // If check does not know the key, it knows at most the account.
                    if *service == "kms" {
                        parts[5] = "key";
                    } else if let Some(account) = account.as_deref() {
                        assert_eq!(*owner, "*");
                        *owner = account;
                    }
                }
                let mut what = parts.join(":");
                if account.is_some() && parts[3] == "*" {
                    let resources = grants.entry(action.to_owned()).or_default();
                    resources.extend(regions.iter().map(|region| {
                        parts[3] = region;
                        parts.join(":")
                    }));
                    continue;
                }
                if let Some(service) = condition.pointer("/StringEquals/kms:ViaService") {
                    what = format!("{what} by {}", texts(service).join(" "));
                } else {
                    assert!(condition.is_null(), "{condition}");
                }
                grants.entry(action.to_owned()).or_default().insert(what);
            }
        }
    }
    grants
}

/// The inline policies of a role.
fn policies<'a>(stack: &'a Value, role: &str) -> Vec<&'a Value> {
    let all = list(&stack["resources"][role]["Properties"]["Policies"]).iter();
    all.map(|policy| &policy["PolicyDocument"]).collect()
}

#[tokio::test]
async fn task_role_grants_what_check_and_the_other_containers_need() {
    let Some(tools) = Tools::new() else { return };
    for parameters in [
        &["Mode=enforce"][..],
        &["Mode=audit"],
        &["Mode=enforce", "Repositories=team/*,shared-?,app"],
        &["Mode=enforce", KEY],
        &["Mode=enforce", MEMBERS[0], MEMBERS[1]],
        &["Mode=enforce", "Replicated=follow", "Repositories=team/*,app"],
        &["Mode=audit", "Replicated=follow"],
        &["Mode=enforce", "Replicated=follow", MEMBERS[0], MEMBERS[1]],
        &["Mode=audit", "Repositories=team/*", KEY, MEMBERS[0], MEMBERS[1]],
        &["Mode=enforce", CHINESE_KEY, MEMBERS[0], MEMBERS[1], "AWS::Region=cn-north-1"],
        &["Mode=enforce", "AWS::Region=us-gov-west-1"],
        &["Mode=enforce", OPERATORS],
        &["Mode=audit", OPERATORS],
        &["Mode=audit", "RestoreInAudit=true"],
        &["Mode=audit", "RestoreInAudit=true", OPERATORS, "Repositories=team/*,app"],
        &["Mode=audit", "RestoreInAudit=true", OTHER_SENDERS],
        &["Mode=audit", "RestoreInAudit=true", OPERATORS, MEMBERS[0], MEMBERS[1]],
        &["Mode=enforce", REGIONS, "CreateEventBus=true", "Repositories=team/*,app", LOG_KEY],
        &["Mode=enforce", REGIONS, MEMBERS[0], MEMBERS[1], "Replicated=follow"],
        &["Mode=audit", REGIONS, "RestoreInAudit=true", OPERATORS],
    ] {
        let stack = tools.stack(parameters);
        let [own, theirs] = policies(&stack, "TaskRole")[..] else { panic!("{parameters:?}") };
        let region = parameters.iter().find_map(|one| one.strip_prefix("AWS::Region="));
        let has_log_key = parameters.contains(&LOG_KEY);
        assert_eq!(grants(theirs), others(region.unwrap_or("eu-west-1"), has_log_key));
        let report = check(&environment(&tools.task_definition(parameters))).await;
        let mut asked = report["policies"][0]["policy"].clone();
        if !parameters.iter().any(|one| one.starts_with("KmsKeyArn=")) {
            // As the note in the policy says, these statements are for customer-managed keys.
            let statements = asked["Statement"].as_array_mut().expect("statements");
            statements.retain(|one| one["Sid"] != "QueueKey" && one["Sid"] != "TopicKeys");
        }
        assert_eq!(grants(own), grants(&asked), "{parameters:?}");
    }
}

/// The ids of the task that may restore, and those that may hold.
fn senders(task: &Value) -> [String; 2] {
    let variables = environment(task);
    let ids = |name: &str| {
        let key = format!("TAGWARDEN__RESTORE__{name}");
        let ids = variables.get(&key).map(String::as_str).unwrap_or_default().split(',');
        ids.filter(|id| !id.is_empty()).collect::<Vec<_>>().join(" ")
    };
    [ids("SENDERS"), ids("HOLD_SENDERS")]
}

#[tokio::test]
async fn operators_and_named_ids_may_restore_but_in_audit_mode_only_if_it_is_allowed() {
    let Some(tools) = Tools::new() else { return };
    let role = "AROAEXAMPLEOPERATORROLE";
    let others = "AROAEXAMPLECHAT000001 AIDAEXAMPLEID12345678";
    let holder = "HoldSenders=AIDAEXAMPLEID12345678";
    for (parameters, may_restore, may_hold) in [
        (&["Mode=enforce"][..], String::new(), String::new()),
        (&["Mode=enforce", OPERATORS], role.to_owned(), role.to_owned()),
        (&["Mode=enforce", OTHER_SENDERS], others.to_owned(), String::new()),
        (&["Mode=enforce", OPERATORS, OTHER_SENDERS], format!("{role} {others}"), role.to_owned()),
        (&["Mode=enforce", holder], String::new(), "AIDAEXAMPLEID12345678".to_owned()),
        (&["Mode=audit", OPERATORS, OTHER_SENDERS, holder], String::new(), String::new()),
        (&["Mode=audit", "RestoreInAudit=true", OPERATORS], role.to_owned(), role.to_owned()),
    ] {
        let task = tools.task_definition(parameters);
        assert_eq!(senders(&task), [may_restore, may_hold], "{parameters:?}");
        // The worker takes them as they are, blank items included.
        check(&environment(&task)).await;
    }
}

#[tokio::test]
async fn operators_role_grants_what_check_prints_and_changes_no_image() {
    let Some(tools) = Tools::new() else { return };
    for parameters in [
        &["Mode=enforce", OPERATORS][..],
        &["Mode=enforce", OPERATORS, "Repositories=team/*,app"],
        &["Mode=audit", "RestoreInAudit=true", OPERATORS, KEY],
        &["Mode=enforce", OPERATORS, REGIONS],
    ] {
        let stack = tools.stack(parameters);
        let [granted] = policies(&stack, "OperatorRole")[..] else { panic!("{parameters:?}") };
        let report = check(&environment(&tools.task_definition(parameters))).await;
        let policies = list(&report["policies"]);
        let of = |one: &&Value| one["of"] == "an operator who may restore images";
        let mut asked = policies.iter().find(of).expect("a policy")["policy"].clone();
        if !parameters.contains(&KEY) {
            let statements = asked["Statement"].as_array_mut().expect("statements");
            statements.retain(|one| one["Sid"] != "QueueKey");
        }
        let granted = grants(granted);
        assert_eq!(granted, grants(&asked), "{parameters:?}");
        let may = |action: &str| granted.contains_key(action);
        assert!(may("sqs:SendMessage") && !may("sqs:ReceiveMessage") && !may("ecr:StartImageScan"));
        assert!(!PUTS.iter().any(|action| may(action)) && !may("secretsmanager:GetSecretValue"));
        let trust = &stack["resources"]["OperatorRole"]["Properties"]["AssumeRolePolicyDocument"];
        let [trust] = list(&trust["Statement"]) else { panic!("{trust:#}") };
        assert_eq!(trust["Principal"]["AWS"], json!(["arn:aws:iam::111122223333:role/on-call"]));
    }
    assert_eq!(tools.stack(&[])["resources"].get("OperatorRole"), None);
}

#[tokio::test]
async fn parameter_grants_the_topics_of_the_configuration() {
    let Some(tools) = Tools::new() else { return };
    let topic = "arn:aws:sns:eu-west-1:111122223333:chat";
    let parameters = ["Mode=audit", &format!("NoticeTopicArns={topic}")];
    let stack = tools.stack(&parameters);
    let mut variables = environment(&tools.task_definition(&parameters));
    let text = format!("[[notify.topics]]\narn = {topic:?}\nformat = 'chat'");
    variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text);
    let asked = grants(&check(&variables).await["policies"][0]["policy"]);
    let [own, _] = policies(&stack, "TaskRole")[..] else { panic!("{stack:#}") };
    assert_eq!(grants(own)["sns:Publish"], asked["sns:Publish"]);
    assert_eq!(asked["sns:Publish"].len(), 2);
}

#[tokio::test]
async fn role_in_other_accounts_grants_what_check_needs_there() {
    let Some(tools) = Tools::new() else { return };
    for (mode, in_audit) in [
        ("Mode=enforce", "RestoreInAudit=false"),
        ("Mode=audit", "RestoreInAudit=false"),
        ("Mode=audit", "RestoreInAudit=true"),
    ] {
        let repositories = "Repositories=team/*,app";
        let task = [mode, in_audit, repositories, OPERATORS, MEMBERS[0], MEMBERS[1]];
        let task = tools.task_definition(&task);
        let report = check(&environment(&task)).await;
        let asked = grants(&report["policies"][1]["policy"]);
        let member = tools.member(&[mode, in_audit, repositories]);
        let [granted] = policies(&member, "WorkerRole")[..] else { panic!("{member:#}") };
        // The template is deployed in one of these accounts. In the tests all of them have one
        // number.
        let asked_here: Grants = asked
            .into_iter()
            .map(|(action, on)| {
                let here = |on: String| {
                    on.replace("444455556666", ACCOUNT).replace("777788889999", ACCOUNT)
                };
                (action, on.into_iter().map(here).collect())
            })
            .collect();
        assert_eq!(grants(granted), asked_here, "{mode} {in_audit}");
        let trust = &member["resources"]["WorkerRole"]["Properties"]["AssumeRolePolicyDocument"];
        let trust = &trust["Statement"][0];
        assert_eq!(trust["Principal"]["AWS"], "arn:aws:iam::999900001111:role/tagwarden-TaskRole");
        assert_eq!(trust["Condition"], json!({"StringEquals": {"sts:ExternalId": "external"}}));
        let assumed =
            environment(&task)["TAGWARDEN__AWS__ASSUME_ROLE"].replace("{account}", ACCOUNT);
        assert_eq!(member["outputs"]["RoleArn"]["Value"], assumed);
    }
}

#[test]
fn execution_role_pulls_the_agent_of_guardduty_only_if_told() {
    let Some(tools) = Tools::new() else { return };
    let agent = "arn:aws:ecr:eu-west-1:*:repository/aws-guardduty-agent-fargate";
    let watched = tools.stack(&["GuardDutyAgent=true", "TaskSize=medium"]);
    let [granted] = policies(&watched, "ExecutionRole")[..] else { panic!("{watched:#}") };
    // GuardDuty user guide, "Prerequisites for AWS Fargate support".
    let granted = grants(granted);
    for action in
        ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    {
        assert!(granted[action].contains(agent), "{action}: {granted:#?}");
    }
    assert!(!tools.stack(&[]).to_string().contains("guardduty"));
}

#[test]
fn every_role_has_the_path_and_the_boundary_that_are_asked_for() {
    let Some(tools) = Tools::new() else { return };
    let boundary = "arn:aws:iam::111122223333:policy/boundary";
    let parameters = ["RolePath=/apps/", &format!("PermissionsBoundaryArn={boundary}")];
    let everything = [&super::stacks::EVERYTHING[..], &parameters].concat();
    for (stack, least) in [(tools.stack(&everything), 5), (tools.member(&parameters), 2)] {
        let roles = of_type(&stack, "AWS::IAM::Role");
        assert_eq!(roles.len(), least);
        for (name, role) in roles {
            assert_eq!(role["PermissionsBoundary"], boundary, "{name}");
            assert_eq!(role["Path"], "/apps/", "{name}");
        }
    }
    for stack in [tools.stack(&super::stacks::EVERYTHING), tools.member(&[])] {
        for (name, role) in of_type(&stack, "AWS::IAM::Role") {
            assert_eq!(role.get("PermissionsBoundary"), None, "{name}");
        }
    }
}

#[test]
fn own_images_are_denied_to_the_worker_whatever_the_repositories() {
    let Some(tools) = Tools::new() else { return };
    let own = "arn:aws:ecr:eu-west-1:111122223333:repository/tagwarden,\
               arn:aws:ecr:eu-west-1:111122223333:repository/mirror/router";
    for more in ["Repositories=*", "Repositories=tagwarden,mirror/*"] {
        let parameters = ["Mode=enforce", &format!("ImageRepositoryArns={own}"), more];
        let stack = tools.stack(&parameters);
        let worker = policies(&stack, "TaskRole")[0];
        let denied = list(&worker["Statement"]).iter().filter(|one| one["Effect"] == "Deny");
        let [denied] = denied.collect::<Vec<_>>()[..] else { panic!("{worker:#}") };
        assert_eq!(denied["Action"], json!(["ecr:BatchDeleteImage", "ecr:PutImage"]));
        assert_eq!(denied["Resource"], json!(own.split(',').collect::<Vec<_>>()));
        assert_eq!(denied.get("Condition"), None);
        let task = environment(&tools.task_definition(&parameters));
        assert_eq!(task["TAGWARDEN__POLICY__REPOSITORIES__OWN_IMAGES"], own);
    }
}

/// The statements of a stack's roles that allow something.
fn allowed(stack: &Value) -> String {
    let mut text = String::new();
    for (_, role) in of_type(stack, "AWS::IAM::Role") {
        for policy in list(&role["Policies"]) {
            let all = list(&policy["PolicyDocument"]["Statement"]).iter();
            all.filter(|one| one["Effect"] == "Allow").for_each(|one| text += &one.to_string());
        }
    }
    text
}

#[test]
fn read_only_role_is_enough_for_audit() {
    let Some(tools) = Tools::new() else { return };
    for stack in [tools.stack(&["Mode=audit"]), tools.member(&["Mode=audit"])] {
        let text = allowed(&stack);
        assert!(text.contains("ecr:DescribeImages"));
        assert!(!PUTS.iter().any(|action| text.contains(action)));
        assert!(!text.contains("ecr:BatchDeleteImage"));
        // Inspecting an image again changes nothing.
        assert!(text.contains("ecr:StartImageScan"));
    }
}

#[test]
fn restores_in_audit_mode_put_images_and_delete_none() {
    let Some(tools) = Tools::new() else { return };
    let in_audit = ["Mode=audit", "RestoreInAudit=true"];
    let with_operators = [&in_audit[..], &[OPERATORS]].concat();
    for stack in [tools.stack(&with_operators), tools.member(&in_audit)] {
        let text = allowed(&stack);
        assert!(PUTS.iter().all(|action| text.contains(action)));
        assert!(!text.contains("ecr:BatchDeleteImage"));
    }
    // Without anybody who may ask, the worker needs no more.
    let nobody = allowed(&tools.stack(&in_audit));
    assert!(!nobody.contains("ecr:PutImage"));
}

/// The IAM action that allows an operation. A batch needs the action of the single operation.
fn action(service: &str, operation: &str) -> String {
    let name = match operation {
        "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" | "SendMessageBatch" => {
            operation.trim_end_matches("Batch")
        }
        // ECR authorises it so (ECR API reference, ListImageReferrers).
        "ListImageReferrers" => "BatchGetImage",
        _ => operation,
    };
    format!("{service}:{name}")
}

#[tokio::test]
async fn task_role_grants_the_calls_of_a_run_and_nothing_else() {
    let Some(tools) = Tools::new() else { return };
    let parameters = ["Mode=enforce", OPERATORS];
    let stack = tools.stack(&parameters);
    let sim = Sim::default();
    let (url, _) = sim.create_queue_with_redrive("tagwarden", 10, &[]);
    let topic = sim.create_topic("tagwarden");
    for (name, rule) in work_rules(&stack) {
        sim.put_rule(name, rule["EventPattern"].clone(), "tagwarden");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = sim.serve(listener).await.expect("a listener");
    let mut variables = variables(&server.endpoint(), "eu-west-1", &url, &topic);
    let task = environment(&tools.task_definition(&parameters));
    variables.extend(task.into_iter().filter(|(name, _)| {
        ["POLICY", "LIMITS", "RESTORE"]
            .into_iter()
            .any(|section| name.starts_with(&format!("TAGWARDEN__{section}__")))
    }));

    let repository = sim.create_repository("team/app");
    sim.set_scan_on_push(&repository, false);
    let digest = sim.push_image(&repository, &["1.0"], "bad");
    sim.set_findings(&repository, &digest, ScanResult::basic(&[("CRITICAL", 1)]));
    sim.emit_scan_event(&repository, &digest);
    sim.send("tagwarden", "no event");
    sim.push_image(&sim.create_repository("team/old"), &["1.0"], "never scanned");
    sim.send("tagwarden", input(&stack));
    let mut worker = Worker::start(&variables).await;
    worker.logged("assessed", |line| line["outcome"] == "quarantined").await;
    let order = json!({
        "source": "tagwarden", "detail-type": "Restore Image",
        "detail": {"repository": "team/app", "digest": digest},
    });
    sim.send_message_as("tagwarden", &order.to_string(), "AROAEXAMPLEOPERATORROLE:on-call");
    worker.logged("assessed", |line| line["outcome"] == "restore_refused").await;
    worker.logged("assessed", |line| line["outcome"] == "malformed").await;
    worker.logged("sweep ends", |_| true).await;
    // The worker calls this operation last.
    let asked = sim.wait_until(|sim| !sim.calls_of("StartImageScan").is_empty());
    within_deadline("a scan that is asked for", asked).await;
    let ended = worker.stopped().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);

    let called: BTreeSet<_> = sim.calls().into_iter().map(|call| call.operation).collect();
    let known: BTreeMap<_, _> = Operation::ALL
        .iter()
        .map(|one| (one.name().to_owned(), action(one.service(), one.name())))
        .collect();
    assert_eq!(called, known.keys().cloned().collect(), "the run makes every listed call");
    let is_granted = |action: &String| !FOR_ALL.contains(&action.as_str());
    let called: BTreeSet<_> = known.into_values().filter(is_granted).collect();
    let granted = grants(policies(&stack, "TaskRole")[0]).into_keys();
    let uncalled = |action: &str| DEPENDENT.contains(&action) || BY_CHECK.contains(&action);
    let granted = granted.filter(|action| !uncalled(action));
    assert_eq!(granted.collect::<BTreeSet<_>>(), called);
}
