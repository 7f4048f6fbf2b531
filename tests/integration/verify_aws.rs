//! `deploy/verify-aws.sh`, which operators run in their own account before `enforce`. Here the real
//! AWS command line runs it in a simulated account.

mod account;

use std::process::Command;

use account::Account;
use aws_sim::{DeleteRules, FaultRule, SimConfig};
use rustix::process::Signal;
use serde_json::Value;

/// Compares a table with the reviewed one.
#[track_caller]
fn assert_table(name: &str, table: &str) {
    insta::with_settings!({snapshot_path => "verify_aws/snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, table);
    });
}

#[tokio::test]
async fn matching_aws_is_confirmed_and_nothing_is_left_behind() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    let others = account.sim.create_repository("team/app");
    account.sim.push_image(&others, &["1.0"], "theirs");
    let resources = account.sim.resources();

    let ended = account.run(&["--yes", "--events-wait", "1"]).await;
    assert_table("as_assumed", &ended.stdout);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("account   111122223333 ("), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nRegion    eu-west-1\n"), "{}", ended.stderr);
    assert_eq!(account.sim.resources(), resources);
    for call in account.sim.calls() {
        let about = call.request.to_string();
        assert!(!about.contains("team/app"), "{} {about}", call.operation);
    }
}

#[tokio::test]
async fn tag_removal_that_deletes_the_image_forbids_enforcing() {
    let broken = SimConfig { delete_rules: DeleteRules::WholeImage, ..SimConfig::default() };
    let Some(account) = Account::new(broken).await else { return };
    let ended = account.run(&["--yes", "--no-events", "--reread", "0", "--format", "json"]).await;
    let (_, table) = ended.stderr.split_once("IMMUTABLE repository\n").unwrap();
    assert_table("whole_image", table.split("\nDeleted: ").next().unwrap());
    assert_eq!(ended.code, Some(1));
    assert_eq!(account.sim.resources(), Vec::<String>::new());
    // Without events there is no queue and no rule.
    let made = ["CreateQueue", "PutRule"].map(|operation| account.sim.calls_of(operation).len());
    assert_eq!(made, [0, 0]);

    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["enforce"], &json["account"]), (&false.into(), &"111122223333".into()));
    let first = &json["rows"][0];
    assert_eq!((&first["number"], &first["verdict"]), (&"1".into(), &"DIFFERS".into()));
    assert_eq!(json["rows"].as_array().unwrap().len(), 29);
}

#[tokio::test]
async fn refused_call_is_no_result_and_created_resources_are_deleted() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    account.sim.set_faults(FaultRule::on("PutImage").error("AccessDeniedException"));
    let ended = account.run(&["--yes"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    let said = "ecr put-image failed, so there is no result";
    assert!(
        ended.stderr.contains(said) && ended.stderr.contains("AccessDenied"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.sim.resources(), Vec::<String>::new());
}

#[tokio::test]
async fn undeletable_resources_are_named() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    account.sim.set_faults(vec![
        FaultRule::on("InitiateLayerUpload").error("AccessDeniedException"),
        FaultRule::on("DeleteQueue").error("AccessDeniedException"),
    ]);
    let ended = account.run(&["--yes"]).await;
    let name = account.scratch();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let said = "NOT DELETED: queue. Try again: ";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&format!("--cleanup {name} --region eu-west-1")),
        "{}",
        ended.stderr
    );
    assert_eq!(account.sim.resources(), [account.sim.queue_arn(&name)]);
}

#[tokio::test]
async fn ctrl_c_deletes_the_created_resources() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    account.sim.set_faults(FaultRule::on("PutImage").once().hang());
    let status = account.interrupt("PutImage", Signal::INT).await;
    assert_eq!(status.code(), Some(130));
    assert_eq!(account.sim.resources(), Vec::<String>::new());
    account.assert_tidy();
}

#[tokio::test]
async fn cleanup_deletes_only_the_remains_of_a_killed_run() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    account.sim.set_faults(FaultRule::on("PutImage").once().hang());
    let status = account.interrupt("PutImage", Signal::KILL).await;
    assert_eq!(status.code(), None);
    assert_eq!(account.sim.resources().len(), 3);

    // Resources with another name, or without the tag of a run, are not touched.
    let alike = "tagwarden-verify-20260102030405-0123abcd";
    let theirs = account.sim.create_repository(alike);
    for name in ["team/app", alike] {
        let ended = account.cleanup(name).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    }
    let ended = account.cleanup(&account.scratch()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(account.sim.resources(), [theirs.arn()]);
    let again = account.cleanup(&account.scratch()).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("There is nothing of "), "{}", again.stderr);
}

#[tokio::test]
async fn nothing_is_created_without_confirmation() {
    let Some(account) = Account::new(SimConfig::default()).await else { return };
    for (arguments, said) in [
        (&[][..], "say --yes"),
        (&["--yes", "--format", "xml"], "--format is table or json"),
        (&["--yes", "--events-wait", "soon"], "whole numbers of seconds"),
        (&["--yes", "--region"], "--region needs a value"),
        (&["--force"], "unknown argument --force"),
    ] {
        let ended = account.run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert_eq!(account.sim.resources(), Vec::<String>::new());
}

#[test]
fn shellcheck_finds_nothing() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/verify-aws.sh");
    match Command::new("shellcheck").arg(script).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout))
        }
        Err(error) => println!("skipped, because there is no shellcheck: {error}"),
    }
}
