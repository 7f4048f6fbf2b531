//! The examples that deploy the templates from Terraform and from the AWS CDK.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::tools::{Tools, path};
use crate::python::Python;

const HCL: [&str; 2] = ["python-hcl2==8.1.4", "PyYAML==6.0.3"];

#[test]
fn terraform_passes_parameters_that_the_templates_have_and_all_that_they_need() {
    let Some(python) = Python::with(&HCL) else { return };
    let mut command = python.command();
    command.arg("tests/deploy/terraform.py").current_dir(path(""));
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let problems: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(problems, json!([]));
}

/// Runs a program of the CDK's folder to its end, or says why it cannot be run.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        // Neither asks for an account, nor whether there is something newer.
        .env("CDK_DISABLE_VERSION_CHECK", "1")
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The folder of the app, a copy below target/ with the packages that its lock file names, installed
/// once; or why they cannot be had.
fn app() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cdk");
    let app = root.join("examples/cdk");
    fs::create_dir_all(&app).expect("a folder");
    let lock = fs::read_to_string(path("examples/cdk/package-lock.json")).expect("a lock file");
    let is_installed = fs::read_to_string(root.join("installed")).is_ok_and(|of| of == lock);
    for file in ["app.js", "cdk.json", "package.json", "package-lock.json"] {
        fs::copy(path("examples/cdk").join(file), app.join(file)).expect("a copy");
    }
    // The app looks there for the templates.
    let deploy = root.join("deploy");
    drop(fs::remove_file(&deploy));
    std::os::unix::fs::symlink(path("deploy"), deploy).expect("a link");
    if !is_installed {
        run(&app, "npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"])?;
        fs::write(root.join("installed"), lock).expect("a file");
    }
    Ok(app)
}

#[test]
fn cdk_synth_writes_the_templates_as_they_are() {
    let Some(tools) = Tools::new() else { return };
    // `.ci/tests` prints this.
    let skipped = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cdk.skipped");
    drop(fs::remove_file(&skipped));
    let app = match app() {
        Ok(app) => app,
        Err(why) => {
            let why = format!("skipped: cdk synth, since its packages cannot be had: {why}\n");
            print!("{why}");
            fs::write(skipped, why).expect("a file");
            return;
        }
    };
    drop(fs::remove_dir_all(app.join("cdk.out")));
    run(&app, "node_modules/.bin/cdk", &["synth", "--quiet"]).unwrap_or_else(|why| panic!("{why}"));
    let written = app.join("cdk.out").display().to_string();
    let pairs = [
        "tagwarden=deploy/tagwarden.yaml",
        "tagwarden-access=deploy/access.yaml",
        "tagwarden-pipeline=deploy/pipeline.yaml",
    ];
    let said = tools.json(&[&["tests/deploy/same.py", &written], &pairs[..]].concat(), "");
    assert_eq!(said["differences"], json!([]));
    assert!(said["resources"].as_u64().is_some_and(|number| number > 100), "{said}");
}
