//! The configuration in AWS AppConfig: the validator, the containers that bring the text, and who may
//! read it.

use std::fs;

use serde_json::{Map, Value, json};

use super::tools::{Tools, list, of_type, path, text};
use crate::python::Python;

const USE: [&str; 2] = ["AppConfig=use", "TaskSize=medium"];
const TEMPLATE: &str = "deploy/tagwarden.yaml";
/// Characters that AppConfig takes for a validator (its API, `Validator`).
const MOST_CHARACTERS: usize = 32_768;

/// A schema without what only people read. `properties` has names of ours, not words of the schema.
fn bare(schema: &Value) -> Value {
    let Value::Object(words) = schema else {
        return match schema {
            Value::Array(all) => all.iter().map(bare).collect(),
            other => other.clone(),
        };
    };
    let mut left = Map::new();
    for (word, value) in words {
        let value = match (word.as_str(), value) {
            ("description" | "default" | "examples" | "title" | "$id", _) => continue,
            // AppConfig knows this draft (its user guide, "About validators").
            ("$schema", _) => json!("http://json-schema.org/draft-04/schema#"),
            ("properties", Value::Object(names)) => {
                names.iter().map(|(name, one)| (name.clone(), bare(one))).collect()
            }
            (_, value) => bare(value),
        };
        left.insert(word.clone(), value);
    }
    Value::Object(left)
}

/// The line of the template with the validator.
fn line(schema: &str) -> String {
    format!("          Content: '{}'", schema.replace('\'', "''"))
}

#[test]
fn validator_is_the_schema_of_the_configuration() {
    let Some(tools) = Tools::new() else { return };
    let schema = bare(&tagwarden::config::schema()).to_string();
    assert!(schema.len() <= MOST_CHARACTERS, "{}", schema.len());
    if std::env::var_os("TAGWARDEN_UPDATE_DOCS").is_some() {
        let template = text(TEMPLATE);
        let written = template.lines().map(|one| {
            let is_it = one.starts_with("          Content: '{");
            if is_it { line(&schema) } else { one.to_owned() }
        });
        let written = written.collect::<Vec<_>>().join("\n") + "\n";
        fs::write(path(TEMPLATE), written).expect("a file that can be written");
    }
    let stack = tools.stack(&USE);
    let profile = &stack["resources"]["ConfigProfile"]["Properties"];
    let [validator] = list(&profile["Validators"]) else { panic!("{profile:#}") };
    assert_eq!(validator["Type"], "JSON_SCHEMA");
    assert!(
        validator["Content"] == json!(schema),
        "{TEMPLATE} has another schema than `tagwarden schema`: \
         TAGWARDEN_UPDATE_DOCS=1 cargo test --test integration validator_is_the_schema"
    );
}

#[test]
fn validator_is_of_the_draft_that_appconfig_knows_and_refuses_mistakes() {
    let Some(tools) = Tools::new() else { return };
    let Some(python) = Python::with(&["check-jsonschema==0.39.0"]) else { return };
    let stack = tools.stack(&USE);
    let schema = &stack["resources"]["ConfigProfile"]["Properties"]["Validators"][0]["Content"];
    let program = "import json, sys; from jsonschema import Draft4Validator as V; \
                   schema, document = json.loads(sys.argv[1]), json.loads(sys.argv[2]); \
                   V.check_schema(schema); sys.exit(not V(schema).is_valid(document))";
    for (document, is_right) in [
        (json!({}), true),
        (json!({"policy": {"protected_tags": ["prod-*"], "grace": "7d"}}), true),
        (json!({"policy": {"protected_tag": ["prod-*"]}}), false),
        (json!({"policy": {"protected_tags": "prod-*"}}), false),
        (json!({"polcy": {}}), false),
        (json!([]), false),
    ] {
        let schema = schema.as_str().expect("text");
        let mut command = python.command();
        let output = command.args(["-c", program, schema, &document.to_string()]).output();
        let output = output.expect("Python can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty(), "{said}");
        assert_eq!(output.status.success(), is_right, "{document}");
    }
}

fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    let mut all = list(&task["containerDefinitions"]).iter();
    all.find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}: {task:#}"))
}

#[test]
fn worker_starts_when_its_text_is_there_and_cannot_write_it() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&USE);
    let waits = |name: &str, on: &str, condition: &str| {
        let all = list(&container(&task, name)["dependsOn"]);
        assert!(
            all.contains(&json!({"containerName": on, "condition": condition})),
            "{name}: {all:?}"
        );
    };
    // What the agent is to do, the agent, its file, the worker.
    waits("appconfig", "manifest", "SUCCESS");
    waits("policy", "appconfig", "START");
    waits("worker", "policy", "SUCCESS");
    let file = "/policy/tagwarden.json";
    let command = container(&task, "policy")["command"][0].as_str().expect("text");
    assert!(command.starts_with(&format!("until [ -s {file} ];")), "{command}");
    assert_eq!(container(&task, "policy")["startTimeout"], 120);
    let variable = |name: &str, of: &str| {
        let mut all = list(&container(&task, of)["environment"]).iter();
        all.find(|one| one["name"] == name).map(|one| one["value"].clone())
    };
    assert_eq!(variable("TAGWARDEN_CONFIG", "worker"), Some(json!(file)));
    assert_eq!(variable("TAGWARDEN__WATCH", "worker"), Some(json!("true")));
    assert!(!container(&task, "worker").to_string().contains("TAGWARDEN_CONFIG_TEXT"));
    let manifest = variable("MANIFEST", "manifest").expect("a manifest");
    let manifest: Value = serde_json::from_str(manifest.as_str().expect("text")).expect("JSON");
    assert_eq!(manifest, json!({"tagwarden:worker:policy": {"writeTo": {"path": file}}}));
    assert_eq!(variable("PREFETCH_LIST", "appconfig"), Some(json!("tagwarden:worker:policy")));
    // By these names the agent finds it.
    let stack = tools.stack(&USE);
    for (resource, name) in [
        ("ConfigApplication", "tagwarden"),
        ("ConfigEnvironment", "worker"),
        ("ConfigProfile", "policy"),
    ] {
        assert_eq!(stack["resources"][resource]["Properties"]["Name"], name);
    }
    // The worker has the key that signs records: nothing of it is where others can read.
    assert_eq!(
        container(&task, "worker")["mountPoints"],
        json!([{"sourceVolume": "policy", "containerPath": "/policy", "readOnly": true}])
    );
    // The agent's file can be read by the worker, whatever rights the agent gives it.
    assert_eq!(container(&task, "appconfig")["user"], container(&task, "worker")["user"]);
    for name in ["manifest", "appconfig", "policy"] {
        let one = container(&task, name);
        assert_eq!(one["essential"], false, "{name}");
        assert_eq!(one["readonlyRootFilesystem"], true, "{name}");
        assert_eq!(one["linuxParameters"]["capabilities"]["drop"], json!(["ALL"]), "{name}");
        assert!(one.get("secrets").is_none(), "{name}");
    }
}

#[test]
fn task_without_appconfig_has_none_of_it() {
    let Some(tools) = Tools::new() else { return };
    for parameters in [&[][..], &["AppConfig=prepare", "ConfigParameterName=/tagwarden/config"]] {
        let task = tools.task_definition(parameters);
        assert_eq!(list(&task["containerDefinitions"]).len(), 3, "{parameters:?}");
        let task = task.to_string();
        assert!(!task.contains("/policy") && !task.contains("TAGWARDEN__WATCH"), "{task}");
    }
    let kinds = |stack: &Value| -> Vec<String> {
        let all = stack["resources"].as_object().expect("resources").values();
        let all = all.filter_map(|one| one["Type"].as_str());
        all.filter(|kind| kind.starts_with("AWS::AppConfig::")).map(str::to_owned).collect()
    };
    assert_eq!(kinds(&tools.stack(&[])), [""; 0]);
    // What a first text can be put into. No text of the template's own: CloudFormation could deploy
    // it again, and take the policy back to it.
    let mut prepared = kinds(&tools.stack(&["AppConfig=prepare"]));
    prepared.sort_unstable();
    let wanted = ["Application", "ConfigurationProfile", "DeploymentStrategy", "Environment"];
    assert_eq!(prepared, wanted.map(|kind| format!("AWS::AppConfig::{kind}")));
    assert_eq!(kinds(&tools.stack(&USE)).len(), 4);
}

#[test]
fn text_that_the_worker_refuses_is_taken_back_by_its_alarm() {
    let Some(tools) = Tools::new() else { return };
    let stack = tools.stack(&USE);
    let environment = &stack["resources"]["ConfigEnvironment"]["Properties"];
    let monitors = list(&environment["Monitors"]).iter();
    let alarms: Vec<_> = monitors.map(|one| one["AlarmArn"].as_str().expect("an ARN")).collect();
    let alarm = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:tagwarden";
    assert_eq!(alarms, [format!("{alarm}-not-ready"), format!("{alarm}-error-lines")]);
    let minutes = stack["resources"]["ConfigStrategy"]["Properties"]["FinalBakeTimeInMinutes"]
        .as_u64()
        .expect("minutes");
    let seconds =
        stack["resources"]["ErrorLines"]["Properties"]["Period"].as_u64().expect("seconds");
    // The agent asks within a minute, and the alarm needs its period.
    assert!(minutes * 60 > 60 + seconds, "{minutes}");
    let role = &stack["resources"]["ConfigMonitorRole"]["Properties"];
    let [statement] = list(&role["Policies"][0]["PolicyDocument"]["Statement"]) else {
        panic!("{role:#}")
    };
    assert_eq!(statement["Action"], json!(["cloudwatch:DescribeAlarms"]));
}

#[test]
fn task_may_read_that_one_text() {
    let Some(tools) = Tools::new() else { return };
    let reads = |parameters: &[&str]| {
        let stack = tools.stack(parameters);
        let mut found = Vec::new();
        for (_, role) in of_type(&stack, "AWS::IAM::Role") {
            for policy in list(&role["Policies"]) {
                let all = list(&policy["PolicyDocument"]["Statement"]).iter();
                found.extend(all.filter(|one| one["Sid"] == "ReadConfiguration").cloned());
            }
        }
        found
    };
    let [statement] = &reads(&USE)[..] else { panic!("one statement") };
    assert_eq!(
        statement["Action"],
        json!(["appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession"])
    );
    let resource = statement["Resource"].as_str().expect("one resource");
    let own = "arn:aws:appconfig:eu-west-1:111122223333:application/ConfigApplication.Ref";
    assert!(resource.starts_with(own) && !resource.contains('*'), "{resource}");
    assert_eq!(reads(&["AppConfig=prepare"]).len(), 0);
}
