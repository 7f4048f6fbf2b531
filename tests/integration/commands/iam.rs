//! The IAM policy that `tagwarden check` prints.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::support::{bare, run};

const HOME: &str = "
queue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden'
notify.topic_arn = 'arn:aws:sns:eu-west-1:111122223333:team'
";

fn joined(list: &Value) -> String {
    let items = list.as_array().expect("a list").iter().map(|item| item.as_str().expect("text"));
    items.collect::<Vec<_>>().join(" ")
}

/// The policies of a configuration, one statement in each paragraph.
async fn policies(config: &str) -> String {
    let report = run(&["check", "--format", "json"], &bare(config), "").await.json();
    let mut text = String::new();
    for policy in report["policies"].as_array().expect("policies") {
        writeln!(text, "{}", policy["of"].as_str().expect("whose")).expect("text");
        assert_eq!(policy["policy"]["Version"], "2012-10-17");
        for statement in policy["policy"]["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow");
            let (sid, actions) = (&statement["Sid"], joined(&statement["Action"]));
            writeln!(text, "  {}: {actions}", sid.as_str().expect("a name")).expect("text");
            for resource in joined(&statement["Resource"]).split(' ') {
                writeln!(text, "    {resource}").expect("text");
            }
            if let Some(condition) = statement.get("Condition") {
                writeln!(text, "    if {condition}").expect("text");
            }
        }
    }
    for note in report["notes"].as_array().expect("notes") {
        writeln!(text, "note: {}", note.as_str().expect("text")).expect("text");
    }
    text
}

/// The resources of one statement of the task's policy.
async fn resources(config: &str, sid: &str) -> String {
    member(config, sid, "Resource").await
}

/// The actions or resources of one statement of the task's policy.
async fn member(config: &str, sid: &str, name: &str) -> String {
    let report = run(&["check", "--format", "json"], &bare(&format!("{HOME}{config}")), "").await;
    let report = report.json();
    let statements = report["policies"][0]["policy"]["Statement"].as_array().expect("statements");
    let of = statements.iter().find(|statement| statement["Sid"] == sid);
    of.map(|statement| joined(&statement[name])).unwrap_or_default()
}

fn repositories(names: &[&str]) -> String {
    let arn = |name: &&str| format!("arn:aws:ecr:*:111122223333:repository/{name}");
    names.iter().map(arn).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn audit_mode_allows_no_changes() {
    assert_eq!(resources("", "ChangeImages").await, repositories(&["*"]));
    assert_eq!(resources("policy.mode = 'audit'", "ChangeImages").await, "");
    let nothing_violates = "policy.max_findings = { critical = 'unlimited', high = 'unlimited' }";
    assert_eq!(resources(nothing_violates, "ChangeImages").await, "");
}

#[tokio::test]
async fn records_need_uploads_and_reads_of_lifecycle_policies() {
    let uploads =
        "ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart";
    for (config, changes, reads) in [
        ("", format!("ecr:BatchDeleteImage {uploads}"), true),
        ("registry.records = 'off'", "ecr:BatchDeleteImage ecr:PutImage".to_owned(), false),
        ("policy.mode = 'audit'", String::new(), true),
    ] {
        assert_eq!(member(config, "ChangeImages", "Action").await, changes, "{config}");
        let read = member(config, "ReadImages", "Action").await;
        assert_eq!(read.contains("ecr:GetLifecyclePolicy"), reads, "{config}");
        assert_eq!(member(config, "RestoreImages", "Action").await, "", "{config}");
    }
}

#[tokio::test]
async fn restores_put_images_wherever_the_policy_covers_and_delete_none() {
    let senders = "restore.hold_senders = ['AROAEXAMPLEID12345678']\n";
    let uploads =
        "ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart";
    let audit = format!("{senders}policy.mode = 'audit'");
    assert_eq!(member(&audit, "RestoreImages", "Action").await, uploads);
    assert_eq!(resources(&audit, "RestoreImages").await, repositories(&["*"]));
    let rule = format!("{audit}\n[[policy.rules]]\nmode = 'enforce'\nrepositories = ['team/*']");
    assert_eq!(resources(&rule, "RestoreImages").await, repositories(&["*"]));
    assert_eq!(resources(&rule, "ChangeImages").await, repositories(&["team/*"]));
    // The permission to change images includes it.
    assert_eq!(resources(senders, "RestoreImages").await, "");
}

#[tokio::test]
async fn operators_send_to_the_queue_and_read() {
    let config = format!(
        "{HOME}restore.senders = ['AROAEXAMPLEID12345678']\npolicy.repositories.include = ['team/*']"
    );
    let shown = policies(&config).await;
    let (_, operator) = shown.split_once("an operator who may restore images\n").expect("one");
    insta::assert_snapshot!(operator);
    assert!(!policies(HOME).await.contains("operator"));
}

#[tokio::test]
async fn scans_are_allowed_unless_sweeps_never_start_them() {
    for (config, begins) in [
        ("", true),
        ("policy.mode = 'audit'", true),
        ("sweep.rescan_after = '7d'", true),
        ("sweep.rescan_after = 'never'", false),
    ] {
        let actions = member(config, "ReadImages", "Action").await;
        assert_eq!(actions.contains("ecr:StartImageScan"), begins, "{config}");
    }
}

#[tokio::test]
async fn globs_become_iam_patterns() {
    for (include, names) in [
        ("'team/*'", &["team/*"][..]),
        ("'{team,shared}/*', 'app'", &["app", "shared/*", "team/*"]),
        ("'app-[0-9]', 'app-[!x]?'", &["app-?", "app-??"]),
        ("'**/app'", &["*/app", "app"]),
        ("'team/*', 'team/app'", &["team/*"]),
    ] {
        let config = format!("policy.repositories.include = [{include}]");
        for sid in ["ReadImages", "ChangeImages"] {
            assert_eq!(resources(&config, sid).await, repositories(names), "{include}");
        }
    }
}

#[tokio::test]
async fn changes_are_allowed_only_in_scope_where_a_rule_enforces() {
    let rule = |mode: &str, glob: &str| {
        format!("[[policy.rules]]\nmode = '{mode}'\nrepositories = ['{glob}']\n")
    };
    let audit = "policy.mode = 'audit'\n";
    let team = "policy.repositories.include = ['team/*']\n";
    let enforce = |glob: &str| rule("enforce", glob);
    for (config, names) in [
        (format!("{audit}{}", enforce("team/prod-*")), &["team/prod-*"][..]),
        (format!("{audit}{team}{}", enforce("*")), &["team/*"]),
        (format!("{audit}{team}{}", enforce("*-prod")), &["team/*"]),
        (format!("{audit}{team}{}", enforce("legacy/*")), &[]),
        (format!("{audit}{}{}", rule("audit", "team/*"), enforce("team/app")), &[]),
        // The base policy never applies if a rule matches everything.
        (format!("{}{}", enforce("team/*"), rule("audit", "*")), &["team/*"]),
    ] {
        assert_eq!(resources(&config, "ChangeImages").await, repositories(names), "{config}");
    }
}

#[tokio::test]
async fn replicas_are_readable_if_the_policy_waits_for_them() {
    let team = "policy.repositories.include = ['team/*']\n";
    let follow = format!("{team}policy.replicated = 'follow'\n");
    let rule = "[[policy.rules]]\nrepositories = ['team/a']\nreplicated = 'follow'\n";
    let role = "policy.accounts = ['111122223333', '444455556666']
        aws.assume_role = 'arn:aws:iam::{account}:role/tagwarden'\n";
    let regions = "policy.regions = ['eu-west-1']\n";
    let anywhere = "arn:aws:ecr:*:*:repository/team/*";
    for (config, read) in [
        (team.to_owned(), ""),
        (follow.clone(), anywhere),
        (format!("{team}{rule}"), anywhere),
        (format!("{follow}policy.mode = 'audit'"), ""),
        // The roles read in their own accounts, in every Region.
        (format!("{follow}{role}"), ""),
        (format!("{follow}{role}{regions}"), "arn:aws:ecr:*:111122223333:repository/team/*"),
    ] {
        assert_eq!(resources(&config, "ReadReplicas").await, read, "{config}");
    }
}

#[tokio::test]
async fn other_accounts_are_accessed_by_a_role() {
    let config = format!(
        "{HOME}
        policy.accounts = ['111122223333', '444455556666', '777788889999']
        policy.regions = ['eu-west-1', 'us-east-1']
        policy.repositories.include = ['team/*']
        aws.assume_role = 'arn:aws:iam::{{account}}:role/tagwarden'
        aws.external_id = 'x'"
    );
    insta::assert_snapshot!(policies(&config).await);
}

#[tokio::test]
async fn other_accounts_without_a_role_need_repository_policies() {
    let config = format!("{HOME}policy.accounts = ['444455556666']");
    insta::assert_snapshot!(policies(&config).await);
}

#[tokio::test]
async fn partitions_follow_the_region() {
    let config = |region: &str, partition: &str, domain: &str| {
        format!(
            "queue.url = 'https://sqs.{region}.{domain}/111122223333/q'
            notify.topic_arn = 'arn:{partition}:sns:{region}:111122223333:t'"
        )
    };
    let china = policies(&config("cn-north-1", "aws-cn", "amazonaws.com.cn")).await;
    let gov = policies(&config("us-gov-west-1", "aws-us-gov", "amazonaws.com")).await;
    insta::assert_snapshot!(format!("{china}\n{gov}"));
}

#[tokio::test]
async fn every_arn_has_the_partition_including_roles_of_other_accounts() {
    for (region, partition, domain) in [
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
    ] {
        let config = format!(
            "queue.url = 'https://sqs.{region}.{domain}/111122223333/q'
            notify.topic_arn = 'arn:{partition}:sns:{region}:111122223333:t'
            policy.accounts = ['111122223333', '444455556666']
            aws.assume_role = 'arn:{partition}:iam::{{account}}:role/tagwarden'"
        );
        let shown = policies(&config).await;
        let arns: Vec<_> = shown.match_indices("arn:").map(|(at, _)| &shown[at..]).collect();
        let foreign = arns.iter().find(|arn| !arn.starts_with(&format!("arn:{partition}:")));
        assert_eq!(foreign, None, "{shown}");
        for service in ["sqs", "sns", "kms", "ecr", "iam"] {
            let arn = format!("arn:{partition}:{service}:");
            assert!(arns.iter().any(|known| known.starts_with(&arn)), "no {service} in {shown}");
        }
        assert!(shown.contains(&format!("sqs.{region}.")), "{shown}");
    }
}

#[tokio::test]
async fn topics_in_several_regions_and_accounts_have_their_own_keys() {
    let config = "
        queue.url = 'https://sqs.eu-west-1.amazonaws.com/111122223333/q'
        [[notify.topics]]
        arn = 'arn:aws:sns:eu-west-1:111122223333:people'
        [[notify.topics]]
        arn = 'arn:aws:sns:us-east-1:444455556666:programs'
        format = 'json'
    ";
    insta::assert_snapshot!(policies(config).await);
}

#[tokio::test]
async fn every_queue_host_gives_its_arn() {
    for (host, region) in [
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("sqs-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("queue.amazonaws.com", "ap-south-1"),
        ("localhost:4566", "ap-south-1"),
    ] {
        let config = format!(
            "queue.url = 'https://{host}/111122223333/q'
            notify.topic_arn = 'arn:aws:sns:eu-west-1:111122223333:t'"
        );
        let mut variables = bare(&config);
        variables.insert("AWS_REGION".to_owned(), "ap-south-1".to_owned());
        let report = run(&["check", "--format", "json"], &variables, "").await.json();
        let queue = &report["policies"][0]["policy"]["Statement"][0]["Resource"];
        assert_eq!(*queue, json!([format!("arn:aws:sqs:{region}:111122223333:q")]), "{host}");
    }
}

#[tokio::test]
async fn queue_url_without_an_account_is_reported() {
    let config = "
        queue.url = 'http://localhost:4566/000000000000/q'
        notify.topic_arn = 'arn:aws:sns:eu-west-1:000000000000:t'
    ";
    insta::assert_snapshot!(policies(config).await);
}

#[tokio::test]
async fn policy_too_long_for_iam_is_warned_of() {
    let accounts: Vec<_> = (0..60).map(|at| format!("'1111222233{at:02}'")).collect();
    let config = format!("{HOME}policy.accounts = [{}]", accounts.join(", "));
    let shown = run(&["check"], &bare(&config), "").await;
    assert!(shown.stdout.contains("make it an inline policy"), "{}", shown.stdout);
}
