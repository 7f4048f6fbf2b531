//! The pipeline of deploy/pipeline.yaml, its actions run one after the other as CodeBuild would,
//! with stand-ins for the AWS command line and docker: whatever fails, nothing is deployed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use yaml_rust2::YamlLoader;

use super::change::Stub;
use super::pipeline::BY_AWS;
use super::tools::{Tools, list, of_type, path, text};

const COMMIT: &str = "9a97786abcdef0123456789abcdef0123456789a";
const REPOSITORY: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/tagwarden";

fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// A pipeline, and what the stand-ins answer.
struct Pipeline {
    stack: Value,
    stub: Stub,
    approves: bool,
    parameters: &'static str,
}

/// What became of an execution: the actions that succeeded, and the output of the one that failed.
struct Execution {
    done: Vec<String>,
    failure: Option<String>,
}

impl Pipeline {
    /// One whose image passes everything, for a stack that is there.
    fn new(tools: &Tools, parameters: &[&str]) -> Self {
        let stack = tools.pipeline(&[&BY_AWS[..], parameters].concat());
        let pipeline = Self {
            stack,
            stub: Stub::new(tools, &[]),
            approves: true,
            parameters: "deploy/no-parameters.json",
        };
        pipeline.finds(&["0 keep"]);
        pipeline.is_signed(json!([{"status": "COMPLETE"}]));
        pipeline
    }

    /// What each look at the findings says: an exit code of `explain` and a verdict.
    fn finds(&self, looks: &[&str]) {
        let lines = looks.join("\n") + "\n";
        fs::write(self.stub.file("explained"), lines).expect("a file");
    }

    fn is_signed(&self, statuses: Value) {
        let answer = json!({"signingStatuses": statuses}).to_string();
        fs::write(self.stub.file("signing.json"), answer).expect("a file");
    }

    fn is(&self, file: &str) {
        fs::write(self.stub.file(file), "").expect("a file");
    }

    fn execute(&self) -> Execution {
        let mut variables = BTreeMap::from([
            ("#{Source.CommitId}", COMMIT.to_owned()),
            ("#{Source.AuthorDate}", "2026-11-30T12:00:00Z".to_owned()),
        ]);
        let mut done = Vec::new();
        let (_, pipeline) = of_type(&self.stack, "AWS::CodePipeline::Pipeline")[0];
        let stages = list(&pipeline["Stages"]).iter();
        for action in stages.flat_map(|stage| list(&stage["Actions"])) {
            let name = action["Name"].as_str().expect("a name").to_owned();
            let result = match action["ActionTypeId"]["Provider"].as_str() {
                Some("CodeBuild") => self.build(&action["Configuration"], &variables),
                Some("Manual") if !self.approves => Err("rejected".to_owned()),
                _ => Ok(String::new()),
            };
            match result {
                Ok(image) => {
                    if action["Namespace"] == "Image" {
                        variables.insert("#{Image.IMAGE}", image);
                    }
                    done.push(name);
                }
                Err(why) => return Execution { done, failure: Some(format!("{name}: {why}")) },
            }
        }
        Execution { done, failure: None }
    }

    /// Runs a project as CodeBuild does: its commands with its variables and the action's.
    fn build(&self, action: &Value, variables: &BTreeMap<&str, String>) -> Result<String, String> {
        let projects = of_type(&self.stack, "AWS::CodeBuild::Project");
        let project = projects.iter().find(|(_, one)| one["Name"] == action["ProjectName"]);
        let (_, project) = project.expect("a project");
        let Some(file) =
            project["Source"]["BuildSpec"].as_str().filter(|one| one.ends_with(".yml"))
        else {
            // The checks, which are this test's own.
            return Ok(String::new());
        };
        let given = action["EnvironmentVariables"].as_str().unwrap_or("[]").to_owned();
        let given = variables.iter().fold(given, |text, (name, value)| text.replace(name, value));
        assert!(!given.contains("#{"), "a variable that no action before it sets: {given}");
        let given: Value = serde_json::from_str(&given).expect("JSON");
        let buildspec = YamlLoader::load_from_str(&text(file)).expect("YAML");
        let commands = buildspec[0]["phases"]["build"]["commands"].as_vec().expect("commands");
        let mut script = String::new();
        for one in commands {
            script += one.as_str().expect("a command");
            script += "\n[[ $? == 0 ]] || exit 1\n";
        }
        script += "printf %s \"$IMAGE\"";
        let programs = std::env::var("PATH").unwrap_or_default();
        let stand_ins = path("tests/deploy/pipeline");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(path("")).env_clear();
        command.env("PATH", format!("{}:{programs}", stand_ins.display()));
        command.env("STUB", self.stub.file("")).env("AWS_REGION", "eu-west-1");
        command.env("INTERVAL", "0").env("PATIENCE", "3").env("PARAMETERS", self.parameters);
        for one in list(project["Environment"].get("EnvironmentVariables").unwrap_or(&json!([]))) {
            command
                .env(one["Name"].as_str().expect("a name"), one["Value"].as_str().expect("text"));
        }
        for one in list(&given) {
            command
                .env(one["name"].as_str().expect("a name"), one["value"].as_str().expect("text"));
        }
        let output = command.output().expect("bash");
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).expect("UTF-8"));
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The calls that put something into the stack.
    fn deployments(&self) -> Vec<String> {
        let deploys = |call: &String| {
            call.contains("cloudformation") && !call.contains("--no-execute-changeset")
        };
        self.stub.changes().into_iter().filter(deploys).collect()
    }

    #[track_caller]
    fn fails_at(&self, action: &str, complaint: &str) {
        let execution = self.execute();
        let why = execution.failure.expect("a failure");
        assert!(why.starts_with(&format!("{action}: ")) && why.contains(complaint), "{why}");
        assert_eq!(self.deployments(), [""; 0], "{why}");
        // Only an approved image is named.
        let calls = self.stub.calls();
        assert!(action == "Named" || !calls.contains("put-image"), "{calls}");
        assert!(!calls.contains("a-secret"), "credentials are in no command: {calls}");
    }
}

#[test]
fn an_image_that_passes_is_approved_named_and_deployed_by_its_digest() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = Pipeline::new(&tools, &[]);
    let execution = pipeline.execute();
    assert_eq!(execution.failure, None);
    let order = ["Source", "Checks", "Build", "Scanned", "Signed", "Proposed", "Approval", "Named"];
    assert_eq!(execution.done, [&order[..], &["Stack"]].concat());
    let calls = pipeline.stub.calls();
    let built =
        calls.lines().find(|call| call.starts_with("docker buildx build")).expect("a build");
    for part in [
        "--platform linux/amd64,linux/arm64",
        &format!("--build-arg REVISION={COMMIT}"),
        "--build-arg CREATED=2026-11-30T12:00:00Z",
        &format!("--tag {REPOSITORY}:{COMMIT} --push"),
    ] {
        assert!(built.contains(part), "{part}: {built}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let named =
        fs::read_to_string(pipeline.stub.file(&format!("tags/{version}-{}", &COMMIT[..12])));
    assert_eq!(named.expect("a tag"), digest());
    let deployments = pipeline.deployments();
    assert_eq!(deployments.len(), 1, "{deployments:?}");
    assert!(deployments[0].contains(&format!("WorkerImage={REPOSITORY}@{}", digest())));
    assert!(deployments[0].contains("--tags service=tag warden"), "{deployments:?}");
}

#[test]
fn an_image_that_the_policy_condemns_is_not_deployed() {
    let Some(tools) = Tools::new() else { return };
    for looks in [&["3 untag"][..], &["0 wait", "3 untag"], &["3 would_untag"]] {
        let pipeline = Pipeline::new(&tools, &[]);
        pipeline.finds(looks);
        pipeline.fails_at("Scanned", "its findings violate the policy");
    }
    // Whatever is not said to be clean is not.
    for verdict in
        ["0 blocked", "0 held", "0 out_of_reach", "0 absent", "0 none", "2 none", "0 new"]
    {
        let pipeline = Pipeline::new(&tools, &[]);
        pipeline.finds(&[verdict]);
        pipeline.fails_at("Scanned", "not fit to be deployed");
    }
}

#[test]
fn an_image_without_findings_in_time_is_not_deployed() {
    let Some(tools) = Tools::new() else { return };
    for look in ["0 wait", "0 left_to_scan", "1 none"] {
        let pipeline = Pipeline::new(&tools, &[]);
        pipeline.finds(&[look]);
        pipeline.fails_at("Scanned", "no findings after 3 looks");
    }
    let pipeline = Pipeline::new(&tools, &[]);
    pipeline.finds(&["0 wait", "0 left_to_scan", "0 keep"]);
    assert_eq!(pipeline.execute().failure, None);
}

#[test]
fn an_image_that_no_scan_covers_is_deployed_only_if_somebody_says_so() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = Pipeline::new(&tools, &[]);
    pipeline.finds(&["0 unscanned"]);
    pipeline.fails_at("Scanned", "no scan covers it");
    let pipeline = Pipeline::new(&tools, &["Unscanned=accept"]);
    pipeline.finds(&["0 unscanned"]);
    assert_eq!(pipeline.execute().failure, None);
    // That accepts no findings.
    let pipeline = Pipeline::new(&tools, &["Unscanned=accept"]);
    pipeline.finds(&["3 untag"]);
    pipeline.fails_at("Scanned", "its findings violate the policy");
}

#[test]
fn an_image_without_a_signature_is_not_deployed() {
    let Some(tools) = Tools::new() else { return };
    let status = |status: &str| json!({"status": status, "failureReason": "AccessDenied"});
    for (statuses, complaint) in [
        (json!([status("FAILED")]), "could not be signed"),
        (json!([status("COMPLETE"), status("FAILED")]), "could not be signed"),
        (json!([status("IN_PROGRESS")]), "not signed after 3 looks"),
        (json!([status("COMPLETE"), status("IN_PROGRESS")]), "not signed after 3 looks"),
        (json!([]), "no rule of the registry's signing configuration signs tagwarden"),
    ] {
        let pipeline = Pipeline::new(&tools, &[]);
        pipeline.is_signed(statuses);
        pipeline.fails_at("Signed", complaint);
    }
}

#[test]
fn nothing_is_deployed_that_is_not_built_or_not_approved() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = Pipeline::new(&tools, &[]);
    pipeline.is("no-build");
    pipeline.fails_at("Build", "");
    let pipeline = Pipeline::new(&tools, &[]);
    pipeline.is("denied");
    pipeline.fails_at("Build", "tagwarden cannot be read");
    let mut pipeline = Pipeline::new(&tools, &[]);
    pipeline.approves = false;
    pipeline.fails_at("Approval", "rejected");
}

#[test]
fn a_commit_that_comes_again_is_not_built_again() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = Pipeline::new(&tools, &[]);
    assert_eq!(pipeline.execute().failure, None);
    let pushes = |pipeline: &Pipeline| pipeline.stub.calls().matches("buildx build").count();
    assert_eq!(pushes(&pipeline), 1);
    assert_eq!(pipeline.execute().failure, None);
    assert_eq!(pushes(&pipeline), 1);
    // Its name is immutable, so what has it already is the same image, or a fault.
    let tag = format!("tags/{}-{}", env!("CARGO_PKG_VERSION"), &COMMIT[..12]);
    fs::write(pipeline.stub.file(&tag), "sha256:other").expect("a file");
    fs::remove_file(pipeline.stub.file("calls")).expect("a file");
    fs::remove_file(pipeline.stub.file("updated")).expect("a file");
    pipeline.fails_at("Named", "is another image");
}

#[test]
fn the_first_execution_makes_the_stack_from_the_parameters_in_the_source() {
    let Some(tools) = Tools::new() else { return };
    let mut pipeline = Pipeline::new(&tools, &[]);
    pipeline.is("no-stack");
    pipeline.fails_at("Proposed", "no file deploy/no-parameters.json");
    pipeline.parameters = "deploy/parameters.example.json";
    let execution = pipeline.execute();
    assert_eq!(execution.failure, None);
    let deployments = pipeline.deployments();
    assert_eq!(deployments.len(), 1, "{deployments:?}");
    for part in [
        "--role-arn arn:aws:iam::111122223333:role/cloudformation",
        "--tags service=tagwarden --parameter-overrides",
        &format!(" WorkerImage={REPOSITORY}@{}", digest()),
        " Mode=audit ",
        " VpcId=vpc-0123456789abcdef0 ",
    ] {
        assert!(deployments[0].contains(part), "{part}: {deployments:?}");
    }
}

#[test]
fn parameters_of_the_example_are_those_that_the_template_needs() {
    let Some(tools) = Tools::new() else { return };
    let template = tools.template("deploy/tagwarden.yaml");
    let example: Value =
        serde_json::from_str(&text("deploy/parameters.example.json")).expect("JSON");
    let given = example["Parameters"].as_object().expect("parameters");
    let known = template["Parameters"].as_object().expect("parameters");
    for name in given.keys() {
        assert!(known.contains_key(name), "{name}");
    }
    let needed = known.iter().filter(|(_, one)| one.get("Default").is_none());
    // The pipeline gives the image itself.
    for (name, _) in needed.filter(|(name, _)| *name != "WorkerImage") {
        assert!(given.contains_key(name), "{name}");
    }
}

#[test]
fn the_program_comes_out_of_its_image_and_shows_nobody_the_credentials() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = Pipeline::new(&tools, &[]);
    let image = format!("{REPOSITORY}:0.1.0");
    let programs = std::env::var("PATH").unwrap_or_default();
    let stand_ins = path("tests/deploy/pipeline");
    let mut command = Command::new(path("deploy/tagwarden.sh"));
    command.args(["plan", "--out", "plan.json"]).current_dir(pipeline.stub.file("")).env_clear();
    command.env("PATH", format!("{}:{programs}", stand_ins.display()));
    command.env("STUB", pipeline.stub.file("")).env("TAGWARDEN", "deploy/tagwarden.sh");
    command.env("TAGWARDEN__POLICY__MODE", "audit").env("AWS_REGION", "eu-west-1");
    let output = command.output().expect("bash");
    assert_eq!(output.status.code(), Some(1), "without WORKER_IMAGE: {output:?}");
    pipeline.finds(&["3 none"]);
    let output = command.env("WORKER_IMAGE", &image).output().expect("bash");
    assert_eq!(output.status.code(), Some(3), "the program's own: {output:?}");
    let calls = pipeline.stub.calls();
    let call = calls.lines().find(|call| call.starts_with("docker run")).expect("a run");
    assert!(call.ends_with(&format!("{image} plan --out plan.json")), "{call}");
    for part in ["--env TAGWARDEN__POLICY__MODE ", "--env AWS_REGION ", "--workdir /"] {
        assert!(call.contains(part), "{part}: {call}");
    }
    assert!(!calls.contains("a-secret") && !call.contains("--env TAGWARDEN "), "{calls}");
}
