//! The Python tools of the tests, installed once from PyPI under `target/`. Each run is a process.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::python::Python;

const PACKAGES: [&str; 4] =
    ["boto3==1.44.5", "cfn-lint==1.58.0", "moto[cloudformation,events]==5.2.5", "PyYAML==6.0.3"];

/// Values for the parameters of a template that have no default.
const REQUIRED: [&str; 5] = [
    "Mode=audit",
    "WorkerImage=111122223333.dkr.ecr.eu-west-1.amazonaws.com/tagwarden:0.1.0",
    "ImageRepositoryArns=arn:aws:ecr:eu-west-1:111122223333:repository/tagwarden",
    "VpcId=vpc-0123456789abcdef0",
    "SubnetIds=subnet-0123456789abcdef0,subnet-0123456789abcdef1",
];
/// The same for the template for other accounts.
pub(crate) const MEMBER: [&str; 4] = [
    "Mode=enforce",
    "EventBusArn=arn:aws:events:eu-west-1:999900001111:event-bus/tagwarden",
    "WorkerRoleArn=arn:aws:iam::999900001111:role/tagwarden-TaskRole",
    "ExternalId=external",
];

/// The same for the template of the pipeline.
pub(crate) const PIPELINE: [&str; 4] = [
    "AWS::StackName=tagwarden-pipeline",
    "DeployerPolicyArn=arn:aws:iam::111122223333:policy/deployer",
    "CloudFormationRoleArn=arn:aws:iam::111122223333:role/cloudformation",
    "NotificationEmail=team@example.com",
];

/// A file of the repository.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the repository.
#[track_caller]
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A Python with the tools, or `None` if the environment says that these tests are skipped.
pub(crate) struct Tools(Python);

impl Tools {
    pub(crate) fn new() -> Option<Self> {
        Python::with(&PACKAGES).map(Self)
    }

    /// Runs Python with this text on its standard input.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.0.command();
        command.args(["-W", "ignore"]).args(arguments).current_dir(path(""));
        // The scripts are next to the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("Python can be started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("somebody who reads");
        drop(stdin);
        child.wait_with_output().expect("an end")
    }

    /// The output of a script.
    #[track_caller]
    fn text(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The JSON that a script prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str], input: &str) -> Value {
        let text = self.text(arguments, input);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// The resources that CloudFormation creates from the worker's template with these parameters.
    #[track_caller]
    pub(crate) fn stack(&self, parameters: &[&str]) -> Value {
        let script = ["tests/deploy/template.py", "deploy/tagwarden.yaml"];
        self.json(&[&script, &REQUIRED[..], parameters].concat(), "")
    }

    /// The worker's task definition with these parameters, in the form that `aws ecs
    /// register-task-definition` accepts.
    #[track_caller]
    pub(crate) fn task_definition_text(&self, parameters: &[&str]) -> String {
        let script = ["tests/deploy/template.py", "--task-definition", "deploy/tagwarden.yaml"];
        self.text(&[&script, &REQUIRED[..], parameters].concat(), "")
    }

    /// The same, parsed.
    #[track_caller]
    pub(crate) fn task_definition(&self, parameters: &[&str]) -> Value {
        serde_json::from_str(&self.task_definition_text(parameters)).expect("JSON")
    }

    /// The resources that CloudFormation creates from the template for other accounts.
    #[track_caller]
    pub(crate) fn member(&self, parameters: &[&str]) -> Value {
        let script = ["tests/deploy/template.py", "deploy/member.yaml"];
        self.json(&[&script, &MEMBER[..], parameters].concat(), "")
    }

    /// A template as it is written.
    #[track_caller]
    pub(crate) fn template(&self, name: &str) -> Value {
        let program = "import json, sys; sys.path.insert(0, 'tests/deploy'); import template; \
                       print(json.dumps(template.load(sys.argv[1])))";
        self.json(&["-c", program, name], "")
    }

    /// The resources that CloudFormation creates from the template of who may do what.
    #[track_caller]
    pub(crate) fn access(&self, parameters: &[&str]) -> Value {
        let script = ["tests/deploy/template.py", "deploy/access.yaml"];
        self.json(&[&script[..], &["TemplateBucket=templates"][..], parameters].concat(), "")
    }

    /// The resources that CloudFormation creates from the template of the pipeline.
    #[track_caller]
    pub(crate) fn pipeline(&self, parameters: &[&str]) -> Value {
        let script = ["tests/deploy/template.py", "deploy/pipeline.yaml"];
        self.json(&[&script, &PIPELINE[..], parameters].concat(), "")
    }

    /// The error that these parameters cause.
    pub(crate) fn refused(&self, template: &str, parameters: &[&str]) -> String {
        let script = ["tests/deploy/template.py", template];
        let required: &[_] = match template {
            "deploy/member.yaml" => &[],
            "deploy/pipeline.yaml" => &PIPELINE,
            _ => &REQUIRED,
        };
        let output = self.run(&[&script, required, parameters].concat(), "");
        assert!(!output.status.success(), "{parameters:?} are accepted");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    }
}

/// The resources of this type, by name.
pub(crate) fn of_type<'a>(stack: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let all = stack["resources"].as_object().expect("resources").iter();
    let all = all.filter(|(_, resource)| resource["Type"] == kind);
    all.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
}

/// The values of a list.
#[track_caller]
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| panic!("not a list: {value}"), Vec::as_slice)
}
