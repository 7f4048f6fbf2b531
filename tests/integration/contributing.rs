//! What contributors and releases depend on: the steps of `.ci/`, the forms and workflows of
//! GitHub, and the scripts that pack a release.
//!
//! That the workflows work can only be seen on GitHub. What can be checked here is their JSON
//! Schema, and what they name; actionlint checks their expressions where it is installed
//! (`.ci/workflows`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use yaml_rust2::{Yaml, YamlLoader};

use crate::python::Python;

const WORKFLOWS: [&str; 3] =
    [".github/workflows/ci.yml", ".github/workflows/release.yml", ".github/workflows/deploy.yml"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(path(folder)).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect()
}

fn bash(arguments: &[&str]) -> Output {
    Command::new("bash").args(arguments).current_dir(path("")).output().expect("bash")
}

/// The steps of `.ci/run`, in their order.
fn steps() -> Vec<String> {
    let output = bash(&[".ci/run", "no-such-step"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let complaint = String::from_utf8(output.stderr).expect("UTF-8");
    let (start, steps) = complaint.split_once("; the steps are: ").expect("the steps");
    assert_eq!(start, "there is no step no-such-step");
    steps.split_whitespace().map(str::to_owned).collect()
}

/// The jobs of a workflow.
fn jobs(workflow: &str) -> Vec<(String, Yaml)> {
    let documents = YamlLoader::load_from_str(&text(workflow)).expect("YAML");
    let jobs = documents[0]["jobs"].as_hash().expect("jobs").iter();
    jobs.map(|(name, job)| (name.as_str().expect("a name").to_owned(), job.clone())).collect()
}

#[test]
fn every_script_of_ci_is_a_step_that_contributors_and_github_know() {
    let steps = steps();
    let mut scripts = names(".ci");
    assert!(scripts.remove("run"));
    assert_eq!(scripts, steps.iter().cloned().collect());
    assert_eq!(steps.last().map(String::as_str), Some("tests"), "its summary is the last output");
    for script in scripts.iter().map(|name| format!(".ci/{name}")) {
        let mode = fs::metadata(path(&script)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} can be run alone");
        let begins = text(&script).lines().nth(1).is_some_and(|line| line.starts_with("# "));
        assert!(begins, "{script} says what it checks");
    }
    let guide = text("CONTRIBUTING.md");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<_> = rows.map(|(step, _)| step.to_owned()).collect();
    assert!(rows.ends_with(&steps), "{rows:?}");
    let ci = text(WORKFLOWS[0]);
    let called: BTreeSet<_> = ci
        .lines()
        .filter_map(|line| line.split_once("- run: .ci/run "))
        .flat_map(|(_, steps)| steps.split(' ').map(str::to_owned))
        .collect();
    assert_eq!(called, scripts);
}

#[test]
fn guide_names_files_that_exist() {
    let guide = text("CONTRIBUTING.md");
    let links = guide.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.starts_with("https://"));
    let links = links.filter_map(|link| link.split('#').next()).map(str::to_owned);
    // Every second part is between backquotes.
    let quoted = guide.split('`').skip(1).step_by(2).map(str::to_owned);
    let is_path = |text: &String| {
        let is_below = |folder: &&str| text.starts_with(*folder);
        let has_no_pattern = !text.contains(|c: char| c.is_ascii_uppercase() || "* ".contains(c));
        has_no_pattern && ["src/", "tests/", "deploy/", "examples/", ".ci/"].iter().any(is_below)
    };
    let named: BTreeSet<_> = links.chain(quoted.filter(is_path)).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(path(&name).exists(), "{name}");
    }
}

#[test]
fn workflows_and_forms_conform_to_the_schemas_of_github() {
    let Some(python) = Python::with(&["check-jsonschema==0.39.0"]) else { return };
    let folder = ".github/ISSUE_TEMPLATE";
    let forms = names(folder).into_iter().filter(|name| name != "config.yml");
    let forms: Vec<_> = forms.map(|name| format!("{folder}/{name}")).collect();
    assert!(forms.len() >= 3, "{forms:?}");
    let workflows: Vec<_> = names(".github/workflows").into_iter().collect();
    assert_eq!(workflows, ["ci.yml", "deploy.yml", "release.yml"]);
    for (schema, files) in [
        ("vendor.github-workflows", WORKFLOWS.map(str::to_owned).to_vec()),
        ("vendor.github-issue-forms", forms),
        ("vendor.github-issue-config", vec![format!("{folder}/config.yml")]),
        ("vendor.dependabot", vec![".github/dependabot.yml".to_owned()]),
    ] {
        let mut command = python.command();
        command.args(["-m", "check_jsonschema", "--builtin-schema", schema]).args(&files);
        let output = command.current_dir(path("")).output().expect("Python can be started");
        assert!(output.status.success(), "{schema}: {output:?}");
    }
}

#[test]
fn actions_are_pinned_by_commit_with_their_version() {
    for workflow in WORKFLOWS {
        let text = text(workflow);
        let uses = text.lines().filter_map(|line| line.trim_start().split_once("uses: "));
        let others = uses.map(|(_, action)| action).filter(|action| !action.starts_with("./"));
        let mut actions = 0;
        for action in others {
            let (_, pin) = action.split_once('@').unwrap_or((action, ""));
            let (commit, version) = pin.split_once(" # v").unwrap_or((pin, ""));
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && version.split('.').count() == 3, "{workflow}: {action}");
            actions += 1;
        }
        assert!(actions > 3, "{workflow}: {actions}");
    }
}

#[test]
fn jobs_have_few_permissions_and_an_end() {
    let mut writing = Vec::new();
    for workflow in WORKFLOWS {
        assert!(text(workflow).contains("\npermissions: {}\n"), "{workflow}: none by default");
        for (name, job) in jobs(workflow) {
            let permissions = job["permissions"].as_hash();
            let permissions = permissions.unwrap_or_else(|| panic!("{workflow}: {name}"));
            writing.extend(
                permissions.iter().filter(|(_, access)| access.as_str() != Some("read")).map(
                    |(scope, access)| {
                        let (scope, access) = (scope.as_str(), access.as_str());
                        format!("{name}: {} {}", scope.unwrap_or("?"), access.unwrap_or("?"))
                    },
                ),
            );
            let is_call = !job["uses"].is_badvalue();
            assert!(is_call || job["timeout-minutes"].as_i64().is_some(), "{workflow}: {name}");
        }
    }
    let expected = [
        "image: packages write",
        "image: id-token write",
        "release: contents write",
        "release: id-token write",
        "image: id-token write",
        "gate: id-token write",
        "deploy: id-token write",
        "name: id-token write",
        "failed: id-token write",
    ];
    assert_eq!(writing, expected);
}

#[test]
fn nothing_is_published_without_a_tag() {
    let jobs = jobs(WORKFLOWS[1]);
    let job = |name: &str| &jobs.iter().find(|(job, _)| job == name).expect("a job").1;
    let tagged = Some("github.ref_type == 'tag'");
    assert_eq!(job("release")["if"].as_str(), tagged);
    let mut guarded = 0;
    for step in job("image")["steps"].as_vec().expect("steps") {
        let uses = step["uses"].as_str().unwrap_or_default();
        let publishes = step["with"]["push"].as_bool() == Some(true)
            || uses.starts_with("docker/login-action@")
            || step["run"].as_str().is_some_and(|run| run.contains("cosign"));
        assert!(!publishes || step["if"].as_str() == tagged, "{step:?}");
        guarded += usize::from(publishes);
    }
    assert_eq!(guarded, 3, "log in, push, sign");
}

/// What a job waits for, itself or by another.
fn waits_for(jobs: &[(String, Yaml)], name: &str) -> BTreeSet<String> {
    let job = &jobs.iter().find(|(job, _)| job == name).expect("a job").1;
    let needs = match &job["needs"] {
        Yaml::String(one) => vec![one.clone()],
        many => many
            .as_vec()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
    };
    let further: Vec<_> = needs.iter().flat_map(|need| waits_for(jobs, need)).collect();
    needs.into_iter().chain(further).collect()
}

#[test]
fn nothing_is_deployed_that_is_not_checked_judged_and_approved() {
    let jobs = jobs(WORKFLOWS[2]);
    let job = |name: &str| &jobs.iter().find(|(job, _)| job == name).expect("a job").1;
    let before = ["checks", "gate", "image"].map(str::to_owned);
    assert_eq!(waits_for(&jobs, "deploy"), before.into());
    assert_eq!(waits_for(&jobs, "image"), ["checks".to_owned()].into());
    assert_eq!(job("checks")["uses"].as_str(), Some("./.github/workflows/ci.yml"));
    // Its own rights come from this environment alone, which asks for the approval.
    let environments = ["image", "gate", "deploy", "name", "failed"]
        .map(|name| job(name)["environment"].as_str().expect("an environment"));
    let (build, deploy) = ("tagwarden-build", "tagwarden-deploy");
    assert_eq!(environments, [build, build, deploy, build, build]);
    // A step that may fail, or a job that begins after a failure, would be a way past the gate.
    let workflow = text(WORKFLOWS[2]);
    assert!(!workflow.contains("continue-on-error") && !workflow.contains("always()"));
    let run = |name: &str| -> Vec<String> {
        let steps = job(name)["steps"].as_vec().expect("steps").iter();
        steps.filter_map(|step| step["run"].as_str().map(str::to_owned)).collect()
    };
    assert!(run("gate")[0].contains("deploy/pipeline.sh scanned"), "{:?}", run("gate"));
    assert!(run("gate")[1].contains("deploy/pipeline.sh signed"), "{:?}", run("gate"));
    for (name, _) in &jobs {
        let condition = job(name)["if"].as_str();
        assert_eq!(condition.is_some(), ["checks", "failed"].contains(&&**name), "{name}");
    }
}

#[test]
fn one_compiler_builds_tests_and_image() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next());
    let version = channel.expect("a channel");
    assert!(text("Dockerfile").contains(&format!("/library/rust:{version}-")));
    for (name, job) in jobs(WORKFLOWS[0]) {
        let container = job["container"].as_str().unwrap_or_default();
        assert!(container.contains(&format!("/library/rust:{version}-")), "{name}: {container}");
    }
}

/// The root of an image, as the build writes it for one architecture, with a program that says what
/// it was asked.
fn root(folder: &Path) {
    let write = |name: &str, text: &str, mode: u32| {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write("tagwarden", "#!/bin/sh\necho \"$*\"\n", 0o755);
    write("usr/share/sbom/tagwarden.cdx.json", "{}", 0o644);
    write("usr/share/licenses/tagwarden/LICENSE", "a licence", 0o644);
}

#[test]
fn package_has_programs_completions_and_checksums_and_is_reproducible() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for architecture in ["amd64", "arm64"] {
        root(&folder.path().join(format!("roots/linux_{architecture}")));
    }
    for out in ["first", "second"] {
        let output = bash(&[".github/package", "1.2.3", &at("roots"), &at(out)]);
        assert!(output.status.success(), "{output:?}");
    }
    let sums = fs::read_to_string(at("first/SHA256SUMS")).expect("checksums");
    assert_eq!(fs::read_to_string(at("second/SHA256SUMS")).expect("checksums"), sums);
    let verified =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(at("first")).output();
    assert!(verified.expect("sha256sum").status.success(), "{sums}");
    assert_eq!(sums.lines().count(), 2);
    for architecture in ["amd64", "arm64"] {
        let name = format!("tagwarden-1.2.3-linux-{architecture}");
        let archive = at(&format!("first/{name}.tar.gz"));
        let output = Command::new("tar").args(["xzf", &archive, "-C", &at("")]).output();
        assert!(output.expect("tar").status.success(), "{archive}");
        let mode = fs::metadata(at(&name)).expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let program = Command::new(at(&format!("{name}/tagwarden"))).arg("--version").output();
        assert_eq!(program.expect("a program").stdout, b"--version\n");
        for (file, shell) in [
            ("_tagwarden", "zsh"),
            ("_tagwarden.ps1", "powershell"),
            ("tagwarden.bash", "bash"),
            ("tagwarden.elv", "elvish"),
            ("tagwarden.fish", "fish"),
        ] {
            let file = at(&format!("{name}/completions/{file}"));
            let script = fs::read_to_string(&file).expect("completions");
            assert_eq!(script, format!("completions {shell}\n"), "{file}");
        }
        for file in ["LICENSE", "tagwarden.cdx.json"] {
            assert!(fs::exists(at(&format!("{name}/{file}"))).expect("an answer"), "{file}");
        }
    }
}

#[test]
fn notes_of_a_release_are_its_section_of_the_changelog() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::create_dir(at(".github")).expect("a folder");
    fs::copy(path(".github/notes"), at(".github/notes")).expect("a script");
    let changelog =
        "# Changelog\n\n## Unreleased\n\n- c\n\n## 1.2.3\n\n- b\n\n## [1.2] - 2026\n- a\n";
    fs::write(at("CHANGELOG.md"), changelog).expect("a file");
    for (version, expected) in [("1.2.3", "\n- b\n\n"), ("1.2", "- a\n"), ("1", ""), ("2", "")] {
        let output = bash(&[&at(".github/notes"), version]);
        assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), expected, "{version}");
    }
}
