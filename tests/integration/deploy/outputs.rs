//! Further destinations of the log: sections that are added to the router's configuration.

use serde_json::{Value, json};

use super::tools::{Tools, list, of_type, text};

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:outputs-AbCdEf";
const STREAM: &str = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/logs";
const DOMAIN: &str = "arn:aws:es:eu-west-1:111122223333:domain/logs/*";

/// The statements of a role that have this action.
fn with(stack: &Value, role: &str, action: &str) -> Vec<Value> {
    let policies = list(&stack["resources"][role]["Properties"]["Policies"]).iter();
    let all = policies.flat_map(|one| list(&one["PolicyDocument"]["Statement"]));
    all.filter(|one| list(&one["Action"]).contains(&json!(action))).cloned().collect()
}

fn router(task: &Value) -> &Value {
    let mut all = list(&task["containerDefinitions"]).iter();
    all.find(|one| one["name"] == "router").expect("a router")
}

#[test]
fn sections_of_a_parameter_or_a_secret_follow_those_of_the_template() {
    let Some(tools) = Tools::new() else { return };
    let parameter = "arn:aws:ssm:eu-west-1:111122223333:parameter/tagwarden/outputs";
    for arn in [SECRET, parameter] {
        let given = format!("RouterOutputsArn={arn}");
        let task = tools.task_definition(&[&given]);
        assert_eq!(router(&task)["secrets"], json!([{"name": "ROUTER_OUTPUTS", "valueFrom": arn}]));
        let stack = tools.stack(&[&given]);
        for action in ["secretsmanager:GetSecretValue", "ssm:GetParameters"] {
            let granted = with(&stack, "ExecutionRole", action);
            assert!(granted.iter().any(|one| one["Resource"] == arn), "{action}: {granted:#?}");
        }
    }
    let task = tools.task_definition(&[]);
    assert_eq!(router(&task).get("secrets"), None);
    let command = router(&task)["command"][0].as_str().expect("text");
    assert!(
        command.starts_with(r#"printf "%s\n" "$ROUTER_CONFIG" "$ROUTER_OUTPUTS" >"#),
        "{command}"
    );
}

#[test]
fn task_writes_to_the_named_streams_and_domains_only() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&[&format!("RouterDestinationArns={STREAM},{DOMAIN}")]);
    for action in ["es:ESHttpPost", "firehose:PutRecordBatch"] {
        let [one] = &with(&stack, "TaskRole", action)[..] else { panic!("{action}") };
        assert_eq!(one["Resource"], json!([STREAM, DOMAIN]));
    }
    let bare = tools.stack(&[]).to_string();
    assert!(!bare.contains("firehose:") && !bare.contains("es:ESHttp"));
    assert_eq!(
        of_type(&stack, "AWS::IAM::Role").len(),
        of_type(&tools.stack(&[]), "AWS::IAM::Role").len()
    );
}

#[test]
fn examples_of_the_guide_are_bounded_and_leave_the_other_outputs_alone() {
    let page = text("docs/telemetry.md");
    let (_, section) = page.split_once("\n## Further destinations").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let examples: Vec<_> = section.split("```ini\n").skip(1).collect();
    let examples: Vec<_> = examples.iter().filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        assert!(example.starts_with("[OUTPUT]\n"), "{example}");
        let key = |name: &str| {
            let line = example.lines().find(|line| line.trim_start().starts_with(name));
            let line = line.unwrap_or_else(|| panic!("no {name}: {example}"));
            line.split_whitespace().nth(1).expect("a value").to_owned()
        };
        // An output that never gives up fills the buffer, and holds up the others.
        let retries: u32 = key("Retry_Limit").parse().expect("a number");
        assert!((1..=10).contains(&retries), "{example}");
        assert!(["worker-firelens-*", "audit.*"].contains(&&*key("Match")), "{example}");
        assert!(["kinesis_firehose", "opensearch", "http"].contains(&&*key("Name")), "{example}");
    }
}
