//! Two workers in one account, such as one of staging beside that of production.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::task::{check, environment};
use super::tools::{Tools, list};

/// Every name that must be the only one of its kind in an account and Region.
fn own_names(stack: &Value) -> BTreeSet<String> {
    let keys = ["RoleName", "QueueName", "TopicName", "AlarmName", "LogGroupName", "ClusterName"];
    let keys = [&keys[..], &["ServiceName", "Family", "DashboardName", "PolicyName"]].concat();
    let mut names = BTreeSet::new();
    for (kind, resource) in stack["resources"].as_object().expect("resources") {
        // A scaling policy is named within its target, an endpoint's service is AWS's.
        if ["AWS::ApplicationAutoScaling::ScalingPolicy", "AWS::EC2::VPCEndpoint"]
            .contains(&resource["Type"].as_str().unwrap_or_default())
        {
            continue;
        }
        for key in &keys {
            if let Some(name) = resource["Properties"][*key].as_str()
                && resource["Type"] != "AWS::Logs::MetricFilter"
            {
                assert!(names.insert(format!("{key} {name}")), "{kind}: {name} twice");
            }
        }
    }
    names
}

#[tokio::test]
async fn staging_beside_production_shares_no_name_and_no_role() {
    let Some(tools) = Tools::new() else { return };
    let members = ["MemberAccounts=444455556666", "MemberExternalId=external"];
    let production = tools.stack(&members);
    let renamed = ["AWS::StackName=staging", "MemberRoleName=staging/tagwarden-staging"];
    let staging = tools.stack(&[&members[..], &renamed].concat());
    let shared: Vec<_> =
        own_names(&production).intersection(&own_names(&staging)).cloned().collect();
    assert_eq!(shared, [""; 0]);

    let there = tools.member(&["AWS::StackName=tagwarden-member"]);
    let staging_there =
        ["AWS::StackName=staging-member", "RoleName=tagwarden-staging", "RolePath=/staging/"];
    let staging_there = tools.member(&staging_there);
    let shared: Vec<_> =
        own_names(&there).intersection(&own_names(&staging_there)).cloned().collect();
    assert_eq!(shared, [""; 0]);

    // Each may assume its own role only, in the accounts that it is told.
    let role = |stack: &Value| {
        let worker = &stack["resources"]["TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"];
        let all = list(&worker["Statement"]).iter();
        let mut assumed = all.filter(|one| one["Sid"] == "OtherAccounts");
        assumed.next().expect("a statement").clone()
    };
    let (one, other) = (role(&production), role(&staging));
    assert_eq!(one["Resource"], "arn:*:iam::*:role/tagwarden-member");
    assert_eq!(other["Resource"], "arn:*:iam::*:role/staging/tagwarden-staging");
    assert_eq!(
        one["Condition"],
        json!({"StringEquals": {"aws:ResourceAccount": ["444455556666"]}})
    );
    let task = tools.task_definition(&[&members[..], &renamed[1..]].concat());
    let assumed = "arn:aws:iam::{account}:role/staging/tagwarden-staging";
    assert_eq!(environment(&task)["TAGWARDEN__AWS__ASSUME_ROLE"], assumed);
    check(&environment(&task)).await;
}
