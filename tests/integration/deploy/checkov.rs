//! checkov, whose rules are those of many security reviews, finds nothing but what is excepted
//! here with a reason.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use super::tools::{list, path};
use crate::python::Python;

/// In an environment of its own: checkov asks for an old boto3. It takes a minute of CPU to install,
/// once, and 15 seconds to run.
const CHECKOV: &str = "checkov==3.3.30";
const TEMPLATES: [&str; 4] =
    ["deploy/access.yaml", "deploy/tagwarden.yaml", "deploy/member.yaml", "deploy/pipeline.yaml"];

/// Findings that are right as they are: the check, the resource, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "CKV_AWS_27",
        "AWS::SQS::Queue.UndeliveredQueue",
        "of member.yaml: it is encrypted with the key of SQS, which checkov does not know; a key \
         of one's own would have to let EventBridge in, in every account",
    ),
    (
        "CKV_AWS_32",
        "AWS::ECR::Repository.Repository",
        "of pipeline.yaml: its policy names everybody, and denies",
    ),
];

#[test]
fn checkov_finds_nothing_but_the_exceptions() {
    let Some(python) = Python::with(&[CHECKOV]) else { return };
    let files = TEMPLATES.iter().flat_map(|file| ["--file", file]);
    let output = python
        .command()
        .args(["-m", "checkov.main", "--framework", "cloudformation", "--output", "json"])
        // Nothing is asked of its maker's service, nor told to it.
        .args(["--skip-download", "--quiet", "--compact"])
        .args(files)
        .current_dir(path(""))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    });
    let summary = &report["summary"];
    // A template that checkov could not read would have no findings either.
    assert_eq!(summary["parsing_errors"], 0, "{summary}");
    assert!(summary["passed"].as_u64().is_some_and(|passed| passed > 50), "{summary}");
    let text = |one: &Value, key: &str| one[key].as_str().expect("text").to_owned();
    let found: BTreeSet<_> = list(&report["results"]["failed_checks"])
        .iter()
        .map(|one| (text(one, "check_id"), text(one, "resource")))
        .collect();
    let excepted: BTreeSet<_> = EXCEPTIONS
        .iter()
        .map(|(check, resource, _)| ((*check).to_owned(), (*resource).to_owned()))
        .collect();
    let new: Vec<_> = found.difference(&excepted).collect();
    assert!(new.is_empty(), "mend these, or except them with a reason: {new:#?}");
    let stale: Vec<_> = excepted.difference(&found).collect();
    assert!(stale.is_empty(), "nothing needs these exceptions any more: {stale:#?}");
}
