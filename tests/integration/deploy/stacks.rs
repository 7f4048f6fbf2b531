//! The CloudFormation templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tagwarden::domain::record::RestoreKeys;

use super::tools::{MEMBER, Tools, list, of_type, path, text};

const DAYS_14: u64 = 14 * 24 * 60 * 60;

/// Everything that a parameter can switch on.
pub(crate) const EVERYTHING: [&str; 28] = [
    "CreateVpcEndpoints=true",
    "RouteTableIds=rtb-0a",
    "NatSubnetId=subnet-0a",
    "NatRouteTableId=rtb-0a",
    "ListenerArn=arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/a/b/c",
    "LoadBalancerSecurityGroupId=sg-0a",
    "PrometheusSecurityGroupId=sg-0b",
    "NoticeEmail=team@example.com",
    "AlarmEmail=on-call@example.com",
    "MemberAccounts=444455556666,777788889999",
    "MemberExternalId=external",
    "OrganizationId=o-a1b2c3d4e5",
    "KmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/1234abcd",
    "ConfigKmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/1234abcd",
    "AppConfig=use",
    "RouterOutputsArn=arn:aws:ssm:eu-west-1:111122223333:parameter/tagwarden/outputs",
    "RouterDestinationArns=arn:aws:firehose:eu-west-1:111122223333:deliverystream/logs,arn:aws:es:eu-west-1:111122223333:domain/logs/*",
    "OperatorArns=arn:aws:iam::111122223333:role/on-call",
    "RestoreSenders=AROAEXAMPLECHAT000001",
    "HoldSenders=AIDAEXAMPLEID12345678",
    "Regions=us-east-1",
    "LogKmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/5678efab",
    "AuditLock=GOVERNANCE",
    "AuditAccessLogBucket=access-logs",
    "ProxyUrl=http://proxy.example.com:3128",
    "ProxyCidr=10.0.8.0/24",
    "GuardDutyAgent=true",
    "TaskSize=medium",
];

#[test]
fn cfn_lint_finds_nothing() {
    let Some(tools) = Tools::new() else { return };
    let regions = ["eu-west-1", "us-east-1", "us-gov-west-1", "cn-north-1"];
    let templates = ["deploy/access.yaml", "deploy/tagwarden.yaml", "deploy/member.yaml"];
    let program = "import cfnlint.runner; cfnlint.runner.main()";
    let command =
        [&["-c", program, "--regions"], &regions[..], &["--template"], &templates[..]].concat();
    let output = tools.run(&command, "");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn moto_creates_both_stacks_and_delivers_events_through_them() {
    let Some(tools) = Tools::new() else { return };
    let files = ["deploy/tagwarden.yaml", "deploy/member.yaml", "task-definition.json"];
    let made = tools.json(&[&["tests/deploy/moto_stacks.py"], &files[..]].concat(), "");
    for (stack, types) in [
        (
            "central",
            &[
                // moto's CloudFormation lacks these resources, so the calls that CloudFormation
                // would make create them.
                "AWS::ApplicationAutoScaling::ScalableTarget",
                "AWS::ApplicationAutoScaling::ScalingPolicy",
                "AWS::CloudWatch::Alarm",
                "AWS::Events::EventBusPolicy",
                "AWS::Logs::MetricFilter",
                "AWS::S3::BucketPolicy",
                "AWS::SNS::TopicPolicy",
                "AWS::SQS::QueuePolicy",
                "AWS::Scheduler::Schedule",
                "AWS::SecretsManager::Secret",
            ][..],
        ),
        (
            "member",
            &[
                "AWS::CloudWatch::Alarm",
                "AWS::ECR::PullTimeUpdateExclusion",
                "AWS::SQS::QueuePolicy",
            ],
        ),
    ] {
        assert_eq!(made[stack]["status"], "CREATE_COMPLETE", "{made:#}");
        assert_eq!(made[stack]["made_by_calls"], json!(types));
    }
    let restore = &made["restore"];
    let key = restore["key"].as_str().expect("a key");
    RestoreKeys::parse(key).expect("what Secrets Manager generates is a key");
    assert_eq!(
        (&restore["key_is_handed_over"], &restore["operators_may_restore_and_hold"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(made["delivered_from_default_bus"], 1, "{made:#}");
    assert_eq!(made["delivered_from_own_bus"], 1, "{made:#}");
    assert_eq!(made["delivered_from_member"], 1, "{made:#}");
    assert_eq!(made["alarms"], json!(expected_alarms()), "{made:#}");
    let of_member = ["tagwarden-member-no-scan-events", "tagwarden-member-undelivered-events"];
    assert_eq!(made["alarms_of_member"], json!(of_member), "{made:#}");
    assert_eq!(
        made["schedule"],
        json!({
            "ScheduleExpression": "rate(1 day)",
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
            "State": "ENABLED",
            "sends_to": "arn:aws:sqs:eu-west-1:111122223333:tagwarden",
        })
    );
}

/// The names of the alarms of the worker's stack, in order.
fn expected_alarms() -> [String; 20] {
    [
        "access-refused",
        "crash-loop",
        "dead-letters",
        "deployment-failed",
        "error-lines",
        "exceptions",
        "holds-ending",
        "leases-lost",
        "limit-reached",
        "metrics-missing",
        "no-scan-events",
        "not-ready",
        "notices-failing",
        "oldest-message",
        "oldest-message-day",
        "overreach",
        "panics",
        "sweep-missing",
        "tasks-missing",
        "undelivered-events",
    ]
    .map(|name| format!("tagwarden-{name}"))
}

#[test]
fn contradictory_parameters_are_refused_before_anything_is_created() {
    let Some(tools) = Tools::new() else { return };
    let central = "deploy/tagwarden.yaml";
    for (parameters, complaint) in [
        (&["CreateVpcEndpoints=true"][..], "CreateVpcEndpoints needs RouteTableIds"),
        (&["NatSubnetId=subnet-0a"], "NatSubnetId needs NatRouteTableId"),
        (
            &["ListenerArn=arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/a/b/c"],
            "ListenerArn needs LoadBalancerSecurityGroupId",
        ),
        (&["MemberAccounts=444455556666"], "OrganizationId need MemberExternalId"),
        (&["OrganizationId=o-a1b2c3d4e5"], "OrganizationId need MemberExternalId"),
        (&["OrganizationId=ou-a1b2-c3d4e5f6"], "OrganizationId: ou-a1b2-c3d4e5f6 is not"),
        (&["CreateEventBus=true"], "CreateEventBus needs Regions"),
        (&["ProxyUrl=http://proxy.example.com:3128"], "ProxyUrl needs ProxyCidr"),
        (&["ProxyUrl=http://user:word@proxy.example.com:3128"], "ProxyUrl: http://user:word"),
        (&["AppConfig=use"], "AppConfig=use needs TaskSize medium or large"),
        (&["AppConfig=use", "TaskSize=medium", "ConfigParameterName=/a"], "AppConfig=use excludes"),
        (&["RouterOutputsArn=/tagwarden/outputs"], "RouterOutputsArn: /tagwarden/outputs is not"),
        (&["RouterDestinationArns=logs"], "RouterDestinationArns: logs is not"),
        (&["GuardDutyAgent=true"], "GuardDutyAgent needs TaskSize medium or large"),
        (&["Regions=Frankfurt"], "Regions: Frankfurt is not"),
        (&["RolePath=apps"], "RolePath: apps is not"),
        (&["RouterImage=fluent-bit"], "RouterImage: fluent-bit is not"),
        (
            &[
                "ConfigParameterName=/a",
                "ConfigSecretArn=arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-b",
            ],
            "exclude each other",
        ),
        (&["Mode=observe"], "not one of"),
        (&["Repositories=Team/*"], "Repositories: Team/* is not"),
        (&["MinTasks=0"], "MinTasks"),
        (&["RestoreSenders=on-call"], "RestoreSenders: on-call is not"),
        (&["OperatorArns=*"], "OperatorArns: * is not"),
        (&["SweepSchedule=daily"], "SweepSchedule: daily is not"),
    ] {
        let said = tools.refused(central, parameters);
        assert!(said.contains(complaint), "{parameters:?}: {said}");
    }
    let said = tools.refused("deploy/member.yaml", &MEMBER[..2]);
    assert!(said.contains("WorkerRoleArn has no default"), "{said}");
    // The installer has to choose the mode.
    let said = tools.refused("deploy/member.yaml", &MEMBER[1..]);
    assert!(said.contains("Mode has no default"), "{said}");
}

#[test]
fn every_queue_keeps_14_days_is_encrypted_and_requires_tls() {
    let Some(tools) = Tools::new() else { return };
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
    for (stack, has_key) in
        [(tools.stack(&[]), false), (tools.stack(&EVERYTHING), true), (tools.member(&[]), false)]
    {
        let policies = of_type(&stack, "AWS::SQS::QueuePolicy");
        for (name, queue) in of_type(&stack, "AWS::SQS::Queue") {
            assert_eq!(queue["MessageRetentionPeriod"], DAYS_14, "{name}");
            if has_key {
                assert_eq!(queue["KmsMasterKeyId"], key, "{name}");
            } else {
                assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
            }
            let url = format!("/{}", queue["QueueName"].as_str().expect("a name"));
            let of_this = policies.iter().filter(|(_, policy)| {
                policy["Queues"][0].as_str().is_some_and(|queue| queue.ends_with(&url))
            });
            let [(_, policy)] = of_this.collect::<Vec<_>>()[..] else { panic!("{name}") };
            let deny = &policy["PolicyDocument"]["Statement"][0];
            assert_eq!((&deny["Effect"], &deny["Principal"]), (&json!("Deny"), &json!("*")));
            assert_eq!(deny["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}));
        }
    }
}

#[test]
fn only_the_rules_of_the_stack_send_and_failed_deliveries_are_kept() {
    let Some(tools) = Tools::new() else { return };
    for stack in [tools.stack(&[]), tools.stack(&EVERYTHING), tools.member(&[])] {
        // The rules that send to each queue, and those that leave there what they could not send.
        let mut senders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut undelivered = BTreeSet::new();
        let mut rules = of_type(&stack, "AWS::Events::Rule");
        rules.retain(|(_, rule)| rule["EventPattern"]["source"] != json!(["aws.ecs"]));
        for (name, rule) in rules {
            let bus = rule["EventBusName"].as_str().map(|bus| format!("{bus}/"));
            let bus = bus.unwrap_or_default();
            let sender = format!("arn:aws:events:eu-west-1:111122223333:rule/{bus}{name}");
            for target in list(&rule["Targets"]) {
                assert_eq!(target["RetryPolicy"]["MaximumRetryAttempts"], 185);
                let kept = target["DeadLetterConfig"]["Arn"].as_str().expect("a queue");
                undelivered.insert(kept.to_owned());
                assert_ne!(target["Arn"], kept);
                for to in [kept, target["Arn"].as_str().expect("an ARN")] {
                    senders.entry(to.to_owned()).or_default().insert(sender.clone());
                }
            }
        }
        assert_eq!(undelivered.len(), 1, "{undelivered:?}");
        assert!(senders.values().map(BTreeSet::len).min() >= Some(1), "{senders:?}");
        let mut receivers = 0;
        for (_, policy) in of_type(&stack, "AWS::SQS::QueuePolicy") {
            let Some(allow) = policy["PolicyDocument"]["Statement"].get(1) else { continue };
            assert_eq!(allow["Principal"], json!({"Service": "events.amazonaws.com"}));
            assert_eq!(allow["Action"], "sqs:SendMessage");
            let allowed = list(&allow["Condition"]["ArnEquals"]["aws:SourceArn"]);
            let allowed = allowed.iter().map(|arn| arn.as_str().expect("an ARN").to_owned());
            let of_this = &senders[allow["Resource"].as_str().expect("an ARN")];
            assert!(of_this.len() >= 4, "{senders:?}");
            assert_eq!(&allowed.collect::<BTreeSet<_>>(), of_this);
            receivers += 1;
        }
        let forwards = of_type(&stack, "AWS::SQS::Queue").len() == 1;
        assert_eq!(receivers, if forwards { 1 } else { 2 });
    }
}

#[test]
fn messages_received_ten_times_move_to_the_dead_letter_queue() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[]);
    let queue = &stack["resources"]["Queue"]["Properties"];
    assert_eq!(
        queue["RedrivePolicy"],
        json!({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:111122223333:tagwarden-dead-letters", "maxReceiveCount": 10})
    );
    let letters = &stack["resources"]["DeadLetterQueue"]["Properties"];
    assert_eq!(
        letters["RedriveAllowPolicy"],
        json!({"redrivePermission": "byQueue", "sourceQueueArns": ["arn:aws:sqs:eu-west-1:111122223333:tagwarden"]})
    );
}

/// Every string of a document that contains an ARN.
fn arns(document: &Value, found: &mut Vec<String>) {
    match document {
        // A resource policy of CloudWatch Logs is a text.
        Value::String(text)
            if text.starts_with('{') && serde_json::from_str::<Value>(text).is_ok() =>
        {
            arns(&serde_json::from_str(text).expect("JSON"), found);
        }
        Value::String(text) => found.extend(text.contains("arn:").then(|| text.clone())),
        Value::Array(items) => items.iter().for_each(|item| arns(item, found)),
        Value::Object(members) => members.values().for_each(|member| arns(member, found)),
        _ => {}
    }
}

#[test]
fn templates_are_valid_in_every_partition() {
    let Some(tools) = Tools::new() else { return };
    for (region, partition) in [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
        let region = format!("AWS::Region={region}");
        let image = format!("arn:{partition}:ecr:x-y-1:111122223333:repository/tagwarden");
        let image = format!("ImageRepositoryArns={image}");
        let members = ["MemberAccounts=444455556666", "MemberExternalId=external"];
        let parameters = [&members[..], &[&region, &image, "ConfigParameterName=/a"]].concat();
        let bus = format!("EventBusArn=arn:{partition}:events:x-y-1:999900001111:event-bus/t");
        let role = format!("WorkerRoleArn=arn:{partition}:iam::999900001111:role/t");
        for (made, least) in
            [(tools.stack(&parameters), 40), (tools.member(&[&region, &bus, &role]), 15)]
        {
            let mut found = Vec::new();
            arns(&made, &mut found);
            assert!(found.len() >= least, "{} {found:#?}", found.len());
            for arn in found {
                let own =
                    arn.starts_with(&format!("arn:{partition}:")) || arn.starts_with("arn:*:");
                assert!(own, "{arn}");
            }
        }
    }
}

#[test]
fn audit_records_are_private_and_outlive_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&["AuditDays=30"]);
    let bucket = &stack["resources"]["AuditBucket"];
    assert_eq!(bucket["DeletionPolicy"], "Retain");
    let properties = &bucket["Properties"];
    let blocks = properties["PublicAccessBlockConfiguration"].as_object().expect("blocks");
    assert!(blocks.len() == 4 && blocks.values().all(|block| block == true));
    assert_eq!(properties["VersioningConfiguration"]["Status"], "Enabled");
    assert_eq!(properties["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"], "30");
    let deny = &stack["resources"]["AuditBucketPolicy"]["Properties"]["PolicyDocument"];
    assert_eq!(
        deny["Statement"][0]["Condition"],
        json!({"Bool": {"aws:SecureTransport": "false"}})
    );
}

#[test]
fn logs_and_audit_records_are_encrypted_with_a_key_of_ones_own() {
    let Some(tools) = Tools::new() else { return };
    let key = "arn:aws:kms:eu-west-1:111122223333:key/5678efab";
    let stack = tools.stack(&EVERYTHING);
    let groups = of_type(&stack, "AWS::Logs::LogGroup");
    assert!(groups.len() >= 4);
    for (name, group) in groups {
        assert_eq!(group["KmsKeyId"], key, "{name}");
    }
    let encryption = |stack: &Value| {
        let bucket = &stack["resources"]["AuditBucket"]["Properties"]["BucketEncryption"];
        bucket["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"].clone()
    };
    assert_eq!(encryption(&stack), json!({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}));
    let bare = tools.stack(&[]);
    assert_eq!(encryption(&bare), json!({"SSEAlgorithm": "AES256"}));
    assert!(!bare["resources"].to_string().contains("KmsKeyId"));
}

#[test]
fn audit_records_can_be_locked_and_their_readers_be_logged() {
    let Some(tools) = Tools::new() else { return };
    for mode in ["GOVERNANCE", "COMPLIANCE"] {
        let stack = tools.stack(&[&format!("AuditLock={mode}"), "AuditDays=30"]);
        let bucket = &stack["resources"]["AuditBucket"]["Properties"];
        assert_eq!(bucket["ObjectLockEnabled"], true);
        let retention = &bucket["ObjectLockConfiguration"]["Rule"]["DefaultRetention"];
        assert_eq!(*retention, json!({"Mode": mode, "Days": "30"}));
    }
    // S3 refuses objects to be locked that come without a checksum.
    let router = text("deploy/fluent-bit.conf");
    assert!(router.lines().any(|line| line.split_whitespace().eq(["send_content_md5", "On"])));
    let everything = tools.stack(&EVERYTHING);
    let bucket = &everything["resources"]["AuditBucket"]["Properties"];
    let log = json!({"DestinationBucketName": "access-logs", "LogFilePrefix": "tagwarden-audit/"});
    assert_eq!(bucket["LoggingConfiguration"], log);
    let bare = tools.stack(&[]);
    let bucket = &bare["resources"]["AuditBucket"]["Properties"];
    for option in ["ObjectLockEnabled", "ObjectLockConfiguration", "LoggingConfiguration"] {
        assert_eq!(bucket.get(option), None, "{option}");
    }
}

#[test]
fn only_security_groups_that_the_installer_names_reach_a_task() {
    let Some(tools) = Tools::new() else { return };
    let ingress = |stack: &Value| -> Vec<_> {
        let all = of_type(stack, "AWS::EC2::SecurityGroupIngress").into_iter();
        all.map(|(_, rule)| (rule["SourceSecurityGroupId"].clone(), rule["ToPort"].clone()))
            .collect()
    };
    let bare = tools.stack(&[]);
    assert_eq!(ingress(&bare), []);
    let group = &bare["resources"]["SecurityGroup"]["Properties"];
    assert_eq!(group.get("SecurityGroupIngress"), None);
    assert!(list(&group["SecurityGroupEgress"]).iter().all(|rule| rule["ToPort"] == 443));
    let everything = tools.stack(&EVERYTHING);
    let named = [(json!("sg-0a"), json!(8080)), (json!("sg-0b"), json!(8080))];
    assert_eq!(ingress(&everything), named);
}

#[test]
fn load_balancer_checks_liveness_and_not_readiness() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&EVERYTHING);
    let [(_, group)] = of_type(&stack, "AWS::ElasticLoadBalancingV2::TargetGroup")[..] else {
        panic!("{stack:#}")
    };
    assert_eq!((&group["HealthCheckPath"], &group["Port"]), (&json!("/healthz"), &json!(8080)));
    assert_eq!(
        (&group["TargetType"], &group["Matcher"]["HttpCode"]),
        (&json!("ip"), &json!("200"))
    );
    let service = &stack["resources"]["Service"]["Properties"];
    assert_eq!(service["HealthCheckGracePeriodSeconds"], 60);
    let bare = tools.stack(&[]);
    let service = &bare["resources"]["Service"]["Properties"];
    assert_eq!(service.get("HealthCheckGracePeriodSeconds"), None);
    let deployment = &service["DeploymentConfiguration"];
    assert_eq!(deployment["DeploymentCircuitBreaker"], json!({"Enable": true, "Rollback": true}));
    assert_eq!(service["EnableExecuteCommand"], false);
}

#[test]
fn tasks_scale_by_backlog_or_keep_a_fixed_number() {
    let Some(tools) = Tools::new() else { return };
    let scaled = tools.stack(&["MinTasks=2", "MaxTasks=6"]);
    let target = &scaled["resources"]["ScalableTarget"]["Properties"];
    assert_eq!((&target["MinCapacity"], &target["MaxCapacity"]), (&json!("2"), &json!("6")));
    assert_eq!(target["ResourceId"], "service/tagwarden/tagwarden");
    // A deployment must not undo a change of the scaling policy.
    assert_eq!(scaled["resources"]["Service"]["Properties"].get("DesiredCount"), None);
    let held = tools.stack(&["MinTasks=2", "MaxTasks=2"]);
    assert_eq!(held["resources"].get("ScalableTarget"), None);
    assert_eq!(held["resources"]["Service"]["Properties"]["DesiredCount"], "2");
}

#[test]
fn missing_scans_of_each_account_and_region_are_seen_there() {
    let Some(tools) = Tools::new() else { return };
    for hours in ["6", "24"] {
        let hours = format!("NoScanEventsHours={hours}");
        let (central, member) = (tools.stack(&[&hours]), tools.member(&[&hours]));
        let [here, there] =
            [&central, &member].map(|stack| &stack["resources"]["NoScanEvents"]["Properties"]);
        // It counts by the same figures, of its own rules, which have the same names.
        assert_eq!(here["Metrics"], there["Metrics"]);
        assert_eq!(there["AlarmName"], here["AlarmName"]);
    }
    let topic = "arn:aws:sns:eu-west-1:111122223333:alarms";
    let member = tools.member(&[&format!("AlarmTopicArn={topic}")]);
    for (name, alarm) in of_type(&member, "AWS::CloudWatch::Alarm") {
        assert_eq!(alarm["AlarmActions"], json!([topic]), "{name}");
        assert_eq!(alarm["OKActions"], json!([topic]), "{name}");
    }
    let off = tools.member(&["NoScanEventsHours=0"]);
    assert_eq!(off["resources"].get("NoScanEvents"), None);
}

/// The services that have an endpoint.
fn endpoints(stack: &Value) -> BTreeSet<String> {
    let all = of_type(stack, "AWS::EC2::VPCEndpoint").into_iter();
    all.map(|(_, endpoint)| {
        let name = endpoint["ServiceName"].as_str().expect("a name");
        name.strip_prefix("com.amazonaws.eu-west-1.").expect("of this Region").to_owned()
    })
    .collect()
}

#[test]
fn every_called_service_has_an_endpoint_and_no_other() {
    let Some(tools) = Tools::new() else { return };
    // Metrics are lines of the log, and services ask KMS themselves: neither is called.
    let always = ["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "sns", "sqs", "xray"]
        .map(str::to_owned);
    let least = ["CreateVpcEndpoints=true", "RouteTableIds=rtb-0a"];
    let with = |more: &[&'static str]| [&least[..], more].concat();
    for (parameters, more) in [
        (with(&[]), &[][..]),
        (with(&["ConfigParameterName=/tagwarden/config"]), &["ssm"]),
        (with(&["MemberAccounts=444455556666", "MemberExternalId=external"]), &["sts"]),
        // By it the worker knows itself among the senders.
        (with(&["Mode=enforce", "RestoreSenders=AROAEXAMPLECHAT000001"]), &["sts"]),
        (with(&["AppConfig=prepare"]), &[]),
        (with(&["AppConfig=use", "TaskSize=medium"]), &["appconfigdata"]),
        (EVERYTHING.to_vec(), &["appconfigdata", "ssm", "sts"]),
    ] {
        let stack = tools.stack(&parameters);
        let wanted = always.iter().cloned().chain(more.iter().map(|one| (*one).to_owned()));
        assert_eq!(endpoints(&stack), wanted.collect(), "{parameters:?}");
        // The service depends on each of them.
        let after = stack["resources"]["Service"]["Metadata"]["After"].to_string();
        for (name, _) in of_type(&stack, "AWS::EC2::VPCEndpoint") {
            assert!(after.contains(name), "{name}: {after}");
        }
    }
}

#[test]
fn endpoints_are_in_the_subnets_that_are_given_for_them() {
    let Some(tools) = Tools::new() else { return };
    let both = "SubnetIds=subnet-0a,subnet-0b,subnet-0c";
    let parameters = ["CreateVpcEndpoints=true", "RouteTableIds=rtb-0a", both];
    let subnets = |stack: &Value| -> BTreeSet<String> {
        let all = of_type(stack, "AWS::EC2::VPCEndpoint").into_iter();
        let interfaces = all.filter(|(_, one)| one["VpcEndpointType"] == "Interface");
        interfaces.map(|(_, one)| one["SubnetIds"].to_string()).collect()
    };
    let same = tools.stack(&parameters);
    assert_eq!(subnets(&same), [r#"["subnet-0a","subnet-0b","subnet-0c"]"#.to_owned()].into());
    // AWS refuses two of one zone, which tasks may have.
    let own = [&parameters[..], &["EndpointSubnetIds=subnet-0a,subnet-0b"]].concat();
    assert_eq!(subnets(&tools.stack(&own)), [r#"["subnet-0a","subnet-0b"]"#.to_owned()].into());
}

/// Bytes of a template that CloudFormation takes in a request (its quotas, "Template body size").
const IN_A_REQUEST: usize = 51_200;
/// The same from S3.
const FROM_S3: usize = 1_000_000;

#[test]
fn templates_are_no_longer_than_cloudformation_accepts() {
    let size = |name: &str| text(name).len();
    for name in ["deploy/access.yaml", "deploy/member.yaml", "deploy/pipeline.yaml"] {
        assert!(size(name) <= IN_A_REQUEST, "{name}: {}", size(name));
    }
    // The guide deploys it from a bucket.
    assert!(size("deploy/tagwarden.yaml") <= FROM_S3);
}

#[test]
fn template_contains_the_configuration_of_router_and_collector() {
    let Some(tools) = Tools::new() else { return };
    assert!(path("deploy/fluent-bit.conf").exists() && path("deploy/collector.yaml").exists());
    let output = tools.run(&["tests/deploy/copies.py"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
