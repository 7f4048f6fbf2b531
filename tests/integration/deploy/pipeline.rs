//! deploy/pipeline.yaml: who pushes, who may become whom, and that other people's tools accept it.
//! Nothing runs on AWS here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::tools::{PIPELINE, Tools, list, of_type, text};

pub(super) const BY_AWS: [&str; 2] = [
    "ConnectionArn=arn:aws:codeconnections:eu-west-1:111122223333:connection/0a1b2c3d",
    "SourceRepository=example/tagwarden",
];
const BY_GITHUB: [&str; 1] = ["GitHubRepository=example/tagwarden"];

const PUSHES: [&str; 4] =
    ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];

/// Whether a `*` in a pattern makes it match a text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| matches(rest, text)))
        }),
    }
}

/// The texts of a member that is one or a list.
fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map_or_else(
        || value.as_str().into_iter().collect(),
        |all| all.iter().filter_map(Value::as_str).collect(),
    )
}

/// Whether a repository's policy denies an action to a principal, by the rules of IAM for the few
/// elements that it has. Whatever else a statement has fails the test, so that it cannot be passed
/// over.
fn is_denied(policy: &Value, principal: &str, action: &str) -> bool {
    list(&policy["Statement"]).iter().any(|statement| {
        for (element, _) in statement.as_object().expect("a statement") {
            let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
            assert!(known.contains(&element.as_str()), "{element} is new to this test");
        }
        let names_it = texts(&statement["Action"]).iter().any(|one| matches(one, action));
        let is_meant = statement["Principal"] == "*" && names_it;
        let holds = statement["Condition"].as_object().expect("a condition").iter().all(
            |(operator, keys)| {
                assert_eq!(operator, "ArnNotEquals", "an operator that is new to this test");
                keys.as_object().expect("keys").iter().all(|(key, arn)| {
                    assert_eq!(key, "aws:PrincipalArn", "a key that is new to this test");
                    !texts(arn).contains(&principal)
                })
            },
        );
        statement["Effect"] == "Deny" && is_meant && holds
    })
}

#[test]
fn cfn_lint_finds_nothing_in_the_pipeline() {
    let Some(tools) = Tools::new() else { return };
    // China has neither Signer nor managed signing.
    let regions = ["eu-west-1", "us-east-1", "us-gov-west-1"];
    let program = "import cfnlint.runner; cfnlint.runner.main()";
    let template = ["--template", "deploy/pipeline.yaml"];
    let output = tools.run(&[&["-c", program, "--regions"], &regions[..], &template].concat(), "");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}");
    // CloudFormation takes none, although cfn-lint does.
    let has_alias = |line: &str| line.contains(" *") && !line.trim_start().starts_with('#');
    let lines = text("deploy/pipeline.yaml");
    let aliases: Vec<_> = lines.lines().filter(|line| has_alias(line)).collect();
    assert!(aliases.is_empty(), "{aliases:?}");
}

#[test]
fn only_the_role_that_builds_pushes_and_administrators_can_change_that() {
    let Some(tools) = Tools::new() else { return };
    for source in [&BY_AWS[..], &BY_GITHUB] {
        let stack = tools.pipeline(source);
        let (_, repository) = of_type(&stack, "AWS::ECR::Repository")[0];
        let policy = &repository["RepositoryPolicyText"];
        let role = |name: &str| format!("arn:aws:iam::111122223333:role/tagwarden-pipeline-{name}");
        let others = [
            role("JudgeRole"),
            role("DeployRole"),
            role("ImageRoleX"),
            "arn:aws:iam::111122223333:root".to_owned(),
            "arn:aws:iam::111122223333:user/administrator".to_owned(),
            "arn:aws:iam::999988887777:role/tagwarden-pipeline-ImageRole".to_owned(),
        ];
        for action in PUSHES {
            assert!(!is_denied(policy, &role("ImageRole"), action), "{action}");
            for other in &others {
                assert!(is_denied(policy, other, action), "{action} by {other}");
            }
        }
        for other in &others {
            for action in ["ecr:SetRepositoryPolicy", "ecr:BatchGetImage", "ecr:DescribeImages"] {
                assert!(!is_denied(policy, other, action), "{action} by {other}");
            }
        }
        assert_eq!(repository["ImageTagMutability"], "IMMUTABLE");
        assert_eq!(repository["ImageScanningConfiguration"]["ScanOnPush"], true);
    }
}

#[test]
fn no_role_but_one_may_push_and_none_may_do_everything() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.pipeline(&BY_AWS);
    let roles = of_type(&stack, "AWS::IAM::Role");
    assert_eq!(roles.len(), 5, "{roles:?}");
    for (name, role) in roles {
        for policy in role["Policies"].as_array().into_iter().flatten() {
            for statement in list(&policy["PolicyDocument"]["Statement"]) {
                let actions = texts(&statement["Action"]);
                assert!(actions.iter().all(|action| !action.contains('*')), "{name}: {actions:?}");
                let pushes = PUSHES.iter().any(|push| actions.contains(push));
                assert!(!pushes || name == "ImageRole", "{name}: {actions:?}");
            }
        }
    }
    // Tests of whatever is in the source run by this one.
    assert_eq!(stack["resources"]["ChecksRole"]["Properties"]["Policies"], Value::Null);
}

#[test]
fn a_workflow_becomes_a_role_only_in_its_repository_and_environment() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.pipeline(&BY_GITHUB);
    for (role, environment) in [
        ("ImageRole", "tagwarden-build"),
        ("JudgeRole", "tagwarden-build"),
        ("DeployRole", "tagwarden-deploy"),
    ] {
        let trust = &stack["resources"][role]["Properties"]["AssumeRolePolicyDocument"];
        let provider = "token.actions.githubusercontent.com";
        let subject = format!("repo:example/tagwarden:environment:{environment}");
        let arn = format!("arn:aws:iam::111122223333:oidc-provider/{provider}");
        assert_eq!(
            trust["Statement"],
            json!([{
                "Effect": "Allow",
                "Principal": {"Federated": arn},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    format!("{provider}:aud"): "sts.amazonaws.com",
                    format!("{provider}:sub"): subject,
                }},
            }]),
            "{role}"
        );
    }
    // It has nothing of the pipeline of AWS, and the account's one provider can be there already.
    let kinds = |stack: &Value| -> BTreeSet<String> {
        let all = stack["resources"].as_object().expect("resources").values();
        all.map(|one| one["Type"].as_str().expect("a type").to_owned()).collect()
    };
    let made = kinds(&stack);
    assert!(made.contains("AWS::IAM::OIDCProvider"), "{made:?}");
    assert!(!made.iter().any(|kind| kind.contains("::Code")), "{made:?}");
    let there = tools.pipeline(&[&BY_GITHUB[..], &["CreateOidcProvider=false"]].concat());
    assert!(!kinds(&there).contains("AWS::IAM::OIDCProvider"));
}

#[test]
fn workflow_is_given_all_that_it_reads_by_the_outputs() {
    let Some(tools) = Tools::new() else { return };
    let template = tools.template("deploy/pipeline.yaml");
    let workflow = text(".github/workflows/deploy.yml");
    let read: BTreeSet<_> = workflow
        .split("fromJSON(vars.TAGWARDEN_PIPELINE")
        .skip(1)
        .filter_map(|rest| rest.split_once(").")?.1.split([' ', '}']).next())
        .collect();
    assert!(read.len() >= 8, "{read:?}");
    for output in read {
        assert_ne!(template["Outputs"][output], Value::Null, "{output}");
    }
}

#[test]
fn one_source_has_to_be_given() {
    let Some(tools) = Tools::new() else { return };
    let both = [&BY_AWS[..], &BY_GITHUB].concat();
    for (parameters, complaint) in [
        (&[][..], "ConnectionArn or GitHubRepository has to be given"),
        (&both, "ConnectionArn and GitHubRepository exclude each other"),
        (&BY_AWS[..1], "ConnectionArn needs SourceRepository"),
    ] {
        assert_eq!(tools.refused("deploy/pipeline.yaml", parameters), complaint);
    }
}

#[test]
fn moto_makes_the_pipeline_as_far_as_it_carries() {
    let Some(tools) = Tools::new() else { return };
    let key = "KmsKeyArn=arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
    for (parameters, called) in
        [(&[BY_AWS[0], BY_AWS[1], key][..], 5), (&BY_AWS, 5), (&BY_GITHUB, 0)]
    {
        let script = ["tests/deploy/moto_pipeline.py"];
        // The name of the stack is the script's.
        let made = tools.json(&[&script, &PIPELINE[1..], parameters].concat(), "");
        assert_eq!(made["status"], "CREATE_COMPLETE", "{made}");
        assert_eq!(made["made"], made["wanted"], "{made}");
        // The pipeline and its four builds, whose members boto3 compares with the service's model.
        assert_eq!(list(&made["called"]).len(), called, "{made}");
        assert_eq!(made["mutability"], "IMMUTABLE");
        assert_eq!(made["lifecycle_rules"], 3);
        assert_eq!(made["repository_policy"]["Statement"][0]["Effect"], "Deny", "{made}");
    }
}

#[test]
fn failures_and_approvals_reach_the_topic() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.pipeline(&BY_AWS);
    let (_, rule) = of_type(&stack, "AWS::Events::Rule")[0];
    let topic = "arn:aws:sns:eu-west-1:111122223333:tagwarden-pipeline-notifications";
    assert_eq!(rule["Targets"][0]["Arn"], topic);
    let event = |pipeline: &str, state: &str| {
        json!({"pattern": rule["EventPattern"], "event": {
            "source": "aws.codepipeline",
            "detail-type": "CodePipeline Pipeline Execution State Change",
            "detail": {"pipeline": pipeline, "state": state, "execution-id": "1"},
        }})
        .to_string()
    };
    for (pipeline, state, is_told) in [
        ("tagwarden-pipeline", "FAILED", true),
        ("tagwarden-pipeline", "SUCCEEDED", false),
        ("another", "FAILED", false),
    ] {
        let said = tools.json(&["tests/deploy/matches.py"], &event(pipeline, state));
        assert_eq!(said, is_told, "{pipeline} {state}");
    }
    let (_, subscription) = of_type(&stack, "AWS::SNS::Subscription")[0];
    assert_eq!(
        (&subscription["TopicArn"], &subscription["Endpoint"]),
        (&json!(topic), &json!("team@example.com"))
    );
}

#[test]
fn builds_have_the_compiler_of_the_project() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next());
    let image = format!("/library/rust:{}-bookworm", channel.expect("a channel"));
    assert!(text("deploy/pipeline.yaml").contains(&image));
}
