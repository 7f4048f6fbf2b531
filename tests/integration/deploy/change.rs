//! deploy/stack.sh, run with a stand-in for the AWS command line: a change that cannot work changes
//! nothing and says so, and one that fails at AWS is not told as done.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tools::{Tools, path};

const OLD: &str = "arn:aws:ecs:eu-west-1:111122223333:task-definition/tagwarden:1";
const NEW: &str = "arn:aws:ecs:eu-west-1:111122223333:task-definition/tagwarden:2";
const GOOD: &str = "[policy]\nprotected_tags = ['prod-*']\n";

/// The files from which the stand-in answers.
pub(super) struct Stub {
    folder: TempDir,
}

impl Stub {
    pub(super) fn new(tools: &Tools, parameters: &[&str]) -> Self {
        let stub = Self { folder: tempfile::tempdir().expect("a folder") };
        stub.write("definition.json", &tools.task_definition(parameters));
        stub.stack("before", "UPDATE_COMPLETE");
        stub.stack("after", "UPDATE_COMPLETE");
        stub.service("before", "ecs-svc/1", OLD, "COMPLETED");
        stub.service("after", "ecs-svc/2", NEW, "COMPLETED");
        stub.write("events.json", &json!({"StackEvents": [{
            "Timestamp": "2999-01-01T00:00:00Z", "LogicalResourceId": "Service",
            "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": "circuit breaker was triggered",
        }]}));
        stub.write(
            "tasks.json",
            &json!({"tasks": [{
                "stoppedReason": "Essential container in task exited",
                "containers": [{"name": "worker", "exitCode": 2}],
            }]}),
        );
        stub
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        fs::write(self.file(name), value.to_string()).expect("a file");
    }

    fn stack(&self, when: &str, status: &str) {
        let parameter =
            |name: &str, value: &str| json!({"ParameterKey": name, "ParameterValue": value});
        let output = |name: &str| json!({"OutputKey": name, "OutputValue": "tagwarden"});
        self.write(
            &format!("stack-{when}.json"),
            &json!({
                "StackStatus": status,
                "Parameters": [
                    parameter("Mode", "audit"),
                    parameter("ConfigParameterName", "/tagwarden/config"),
                    parameter("ConfigVersion", "0123456789abcdef"),
                ],
                "Tags": [{"Key": "service", "Value": "tag warden"}, {"Key": "owner", "Value": "x"}],
                "Outputs": [output("ClusterName"), output("ServiceName")],
            }),
        );
    }

    /// The stack keeps its text in AppConfig.
    fn appconfig(&self, state: &str) {
        for when in ["before", "after"] {
            let text = fs::read_to_string(self.file(&format!("stack-{when}.json"))).expect("JSON");
            let mut stack: Value = serde_json::from_str(&text).expect("JSON");
            let outputs = stack["Outputs"].as_array_mut().expect("outputs");
            for (name, id) in [
                ("Application", "app1"),
                ("Environment", "env1"),
                ("Profile", "pro1"),
                ("Strategy", "str1"),
            ] {
                outputs.push(json!({"OutputKey": format!("Config{name}Id"), "OutputValue": id}));
            }
            self.write(&format!("stack-{when}.json"), &stack);
        }
        self.write(
            "deployment.json",
            &json!({"State": state, "EventLog": [{
                "EventType": "ROLLBACK_STARTED", "OccurredAt": "2026-11-30T12:00:00Z",
                "Description": "tagwarden-error-lines went into ALARM",
            }]}),
        );
    }

    fn service(&self, when: &str, id: &str, definition: &str, state: &str) {
        self.write(&format!("service-{when}.json"), &json!({
            "taskDefinition": definition,
            "deployments": [{
                "id": id, "status": "PRIMARY", "rolloutState": state, "taskDefinition": definition,
                "rolloutStateReason": "because of a test",
            }],
            "events": [{"createdAt": "2026-11-30T12:00:00Z", "message": "(service tagwarden) was stopped"}],
        }));
    }

    fn text(&self, text: &str) -> String {
        fs::write(self.file("tagwarden.toml"), text).expect("a file");
        self.file("tagwarden.toml").display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let programs = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(path("deploy/stack.sh"));
        command.args(arguments).env_remove("STACK").env("STUB", self.folder.path());
        command.env("PATH", format!("{}:{programs}", path("tests/deploy").display()));
        command.env("TAGWARDEN", env!("CARGO_BIN_EXE_tagwarden"));
        command.env("INTERVAL", "0").env("PATIENCE", "3").env("AWS_REGION", "eu-west-1");
        command.output().expect("bash")
    }

    pub(super) fn calls(&self) -> String {
        fs::read_to_string(self.file("calls")).unwrap_or_default()
    }

    /// The calls that change something.
    pub(super) fn changes(&self) -> Vec<String> {
        let changes = |call: &&str| {
            ["put-", "update-", "deploy ", "delete-", "create-", "start-"]
                .iter()
                .any(|verb| call.contains(verb))
        };
        self.calls().lines().filter(changes).map(str::to_owned).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn policy_with_a_mistake_changes_nothing_and_says_so() {
    let Some(tools) = Tools::new() else { return };
    for (parameters, text, complaint) in [
        (&[][..], "[policy]\nprotected_tag = ['prod-*']\n", "protected_tag"),
        (&[], "[policy\n", "TAGWARDEN_CONFIG_TEXT"),
        // Only together with the task's variables: 8 tasks share fewer tags than they are.
        (&["MaxTasks=8"], "[limits]\nuntags_per_hour_per_repository = 4\n", "untags_per_hour"),
    ] {
        let stub = Stub::new(&tools, parameters);
        let output = stub.run(&["policy", &stub.text(text)]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("refused, and nothing is changed"), "{said}");
        assert!(said.contains(complaint), "{said}");
        assert_eq!(stub.changes(), [""; 0]);
    }
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["policy", "/no/such/file.toml"]);
    assert_eq!((output.status.code(), stub.changes().len()), (Some(2), 0), "{}", said(&output));
}

#[test]
fn policy_is_kept_as_a_version_and_its_deployment_is_awaited_by_its_id() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["policy", &stub.text(GOOD)]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("deployment ecs-svc/2 is complete"), "{said}");
    assert!(
        said.contains("to go back: deploy/stack.sh policy --version 0123456789abcdef"),
        "{said}"
    );
    let changes = stub.changes();
    let [kept, updated] = &changes[..] else { panic!("{changes:#?}") };
    // A name of its own: what an older task definition names stays what it is.
    let name = kept.split("--name /tagwarden/config/").nth(1).expect("a version");
    let version = name.split(' ').next().expect("a version");
    assert!(version.len() == 16 && !kept.contains("--overwrite"), "{kept}");
    assert_eq!(fs::read_to_string(stub.file("text")).expect("text"), GOOD);
    // The stack's tags stay, since UpdateStack is given none.
    assert!(
        updated.contains("--use-previous-template") && !updated.contains("--tags"),
        "{updated}"
    );
    let parameters = fs::read_to_string(stub.file("parameters.json")).expect("parameters");
    let parameters: Value = serde_json::from_str(&parameters).expect("JSON");
    assert_eq!(
        parameters,
        json!([
            {"ParameterKey": "Mode", "UsePreviousValue": true},
            {"ParameterKey": "ConfigParameterName", "UsePreviousValue": true},
            {"ParameterKey": "ConfigVersion", "ParameterValue": version},
        ])
    );
}

/// What is said, and what AWS has come to.
type Case<'a> = (&'a str, &'a dyn Fn(&Stub));

#[test]
fn change_that_is_taken_back_is_told_as_failed_with_the_reasons() {
    let Some(tools) = Tools::new() else { return };
    let taken_back = |stub: &Stub| {
        stub.stack("after", "UPDATE_ROLLBACK_COMPLETE");
        stub.service("after", "ecs-svc/3", OLD, "COMPLETED");
    };
    // The stack says that it is done and the service is stable, but with the old tasks.
    let stable_again = |stub: &Stub| stub.service("after", "ecs-svc/3", OLD, "COMPLETED");
    let failed = |stub: &Stub| stub.service("after", "ecs-svc/2", NEW, "FAILED");
    let never_ends = |stub: &Stub| stub.service("after", "ecs-svc/2", NEW, "IN_PROGRESS");
    let cases: [Case<'_>; 4] = [
        ("is in force again", &taken_back),
        ("did not complete", &stable_again),
        ("did not complete", &failed),
        ("did not complete", &never_ends),
    ];
    for (complaint, prepare) in cases {
        let stub = Stub::new(&tools, &[]);
        prepare(&stub);
        let output = stub.run(&["policy", &stub.text(GOOD)]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("FAILED") && said.contains(complaint), "{said}");
        assert!(said.contains("Service: circuit breaker was triggered"), "{said}");
        assert!(said.contains("worker: exit code 2") && !said.contains("done:"), "{said}");
    }
}

#[test]
fn earlier_text_is_deployed_again_only_if_it_is_kept() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["policy", "--version", "0123456789abcdef"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(stub.changes()[0].contains("update-stack"), "{:?}", stub.changes());
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["policy", "--version", "unknown"]);
    assert_eq!((output.status.code(), stub.changes().len()), (Some(2), 0), "{}", said(&output));
}

#[test]
fn new_template_keeps_the_tags_of_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["set", "--template", "x.yaml", "--s3-bucket", "b", "WorkerImage=w:2"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let changes = stub.changes();
    let [deployed] = &changes[..] else { panic!("{changes:#?}") };
    assert!(deployed.contains("--tags service=tag warden owner=x"), "{deployed}");
    assert!(deployed.contains("--parameter-overrides WorkerImage=w:2"), "{deployed}");
}

#[test]
fn parameter_that_the_stack_does_not_have_is_refused() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    let output = stub.run(&["set", "Mod=enforce"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("no parameter Mod") && stub.changes().is_empty());
    let output = stub.run(&["set", "Mode=enforce"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn environment_of_the_task_can_be_used_by_a_person() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &["Repositories=team/*,app"]);
    let output = stub.run(&["environment"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("export TAGWARDEN__POLICY__MODE=audit\n"), "{text}");
    assert!(
        text.contains("export TAGWARDEN__POLICY__REPOSITORIES__INCLUDE=team/\\*\\,app\n"),
        "{text}"
    );
    assert!(!text.contains("RESTORE__KEY"), "{text}");
}

#[test]
fn text_in_appconfig_is_checked_kept_deployed_and_awaited() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    stub.appconfig("COMPLETE");
    let file = stub.file("tagwarden.json");
    // Longer than a variable may be.
    let many = vec!["prod-*"; 20_000];
    let text = json!({"policy": {"protected_tags": many}}).to_string();
    fs::write(&file, &text).expect("a file");
    let output = stub.run(&["policy", &file.display().to_string()]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("done: deployment 7 is complete"), "{said}");
    assert!(said.contains("to go back: deploy/stack.sh policy --version 1"), "{said}");
    let changes = stub.changes();
    let [kept, started] = &changes[..] else { panic!("{changes:#?}") };
    assert!(kept.contains("--application-id app1 --configuration-profile-id pro1"), "{kept}");
    assert!(kept.contains("--content-type application/json"), "{kept}");
    assert_eq!(fs::read_to_string(stub.file("text")).expect("text"), text);
    let ids = "--environment-id env1 --configuration-profile-id pro1 --deployment-strategy-id str1";
    assert!(started.contains(ids) && started.contains("--configuration-version 3"), "{started}");
}

#[test]
fn text_that_appconfig_takes_back_is_told_as_failed_with_the_reasons() {
    let Some(tools) = Tools::new() else { return };
    for (state, complaint) in
        [("ROLLED_BACK", "the text from before is in force again"), ("BAKING", "is still BAKING")]
    {
        let stub = Stub::new(&tools, &[]);
        stub.appconfig(state);
        let output = stub.run(&["policy", "--version", "1"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(complaint) && !said.contains("done:"), "{said}");
        assert!(said.contains("tagwarden-error-lines went into ALARM"), "{said}");
    }
}

#[test]
fn text_that_cannot_work_never_reaches_appconfig() {
    let Some(tools) = Tools::new() else { return };
    for (name, text, complaint) in [
        ("tagwarden.json", r#"{"policy": {"protected_tag": ["prod-*"]}}"#, "protected_tag"),
        ("tagwarden.json", r#"{"policy": {"protected_tags": ["prod-*"]"#, "tagwarden.json"),
        ("tagwarden.toml", GOOD, "is not JSON"),
    ] {
        let stub = Stub::new(&tools, &[]);
        stub.appconfig("COMPLETE");
        fs::write(stub.file(name), text).expect("a file");
        let output = stub.run(&["policy", &stub.file(name).display().to_string()]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint) && said.contains("nothing is changed"), "{said}");
        assert_eq!(stub.changes(), [""; 0]);
    }
    let stub = Stub::new(&tools, &[]);
    stub.appconfig("COMPLETE");
    let output = stub.run(&["policy", "--version", "4"]);
    assert_eq!((output.status.code(), stub.changes().len()), (Some(2), 0), "{}", said(&output));
}

#[test]
fn versions_in_appconfig_mark_the_one_that_was_completed_last() {
    let Some(tools) = Tools::new() else { return };
    let stub = Stub::new(&tools, &[]);
    stub.appconfig("COMPLETE");
    let output = stub.run(&["versions"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["  never 2", "  never 3", "* 2026-11-29T12:00:00Z 1"]);
}
