//! The IAM policy that a configuration needs, and nothing beyond it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::domain::globs::Globs;
use crate::domain::image::{AccountId, Home};
use crate::domain::policy::{Mode, Policy};

/// A policy document, its members in the order in which people write them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// Where the worker lives, and what is known of the encryption of its queue and topics.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The worker's own account and Region, where they are known.
    pub own: Option<Home>,
    /// The queue's name, where it is known.
    pub queue: Option<String>,
    /// Whether the queue is encrypted with a key of the customer's; `None`: not known.
    pub queue_key: Option<bool>,
    /// Whether any topic is.
    pub topic_key: Option<bool>,
}

impl Place {
    fn account(&self) -> &str {
        self.own.as_ref().map_or("*", |own| own.account.as_str())
    }

    fn region(&self) -> &str {
        self.own.as_ref().map_or("*", |own| own.region.as_str())
    }

    fn partition(&self) -> &'static str {
        match self.region() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

/// The policy of the task's role.
#[must_use]
pub fn task_policy(settings: &Settings, place: &Place) -> Document {
    let (partition, region, account) = (place.partition(), place.region(), place.account());
    let queue = place.queue.as_deref().unwrap_or("*");
    let mut statements = vec![allow(
        "Queue",
        &[
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        ],
        [format!("arn:{partition}:sqs:{region}:{account}:{queue}")],
    )];
    let topics = settings.notify.topics.iter().map(|topic| topic.arn.clone());
    statements.push(allow("Topics", &["sns:GetTopicAttributes", "sns:Publish"], topics));
    // SQS and SNS ask for these only where the key is the customer's (their developer guides, "Key management").
    if place.queue_key != Some(false) {
        let actions = ["kms:Decrypt"];
        statements.push(key("QueueKey", &actions, place, &[format!("sqs.{region}.amazonaws.com")]));
    }
    if place.topic_key != Some(false) {
        let mut services: Vec<_> = settings
            .notify
            .topics
            .iter()
            .map(|topic| format!("sns.{}.amazonaws.com", topic.region))
            .collect();
        services.sort();
        services.dedup();
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        statements.push(key("TopicKeys", &actions, place, &services));
    }
    let others = other_accounts(&settings.policy, place);
    let assumes = settings.aws.assume_role.is_some();
    let mut accounts = Vec::new();
    if covers_own(&settings.policy, place) {
        accounts.push(account.to_owned());
    }
    if !assumes {
        accounts.extend(others.iter().map(ToString::to_string));
    }
    if !accounts.is_empty() {
        statements.extend(images(&settings.policy, place, &accounts));
    }
    if let Some(role) = settings.aws.assume_role.as_ref().filter(|_| !others.is_empty()) {
        let roles = others.iter().map(|account| role.replace("{account}", account.as_str()));
        statements.push(allow("OtherAccounts", &["sts:AssumeRole"], roles));
    }
    document(statements)
}

/// The policy of the role that is assumed in other accounts, where there is one.
#[must_use]
pub fn other_accounts_policy(settings: &Settings, place: &Place) -> Option<Document> {
    settings.aws.assume_role.as_ref()?;
    let accounts: Vec<_> =
        other_accounts(&settings.policy, place).iter().map(ToString::to_string).collect();
    (!accounts.is_empty()).then(|| document(images(&settings.policy, place, &accounts)))
}

fn covers_own(policy: &Policy, place: &Place) -> bool {
    match (&policy.accounts, &place.own) {
        (Some(accounts), Some(own)) => accounts.contains(&own.account),
        _ => true,
    }
}

fn other_accounts<'a>(policy: &'a Policy, place: &Place) -> Vec<&'a AccountId> {
    let own = place.own.as_ref().map(|own| &own.account);
    policy.accounts.iter().flatten().filter(|account| Some(*account) != own).collect()
}

/// What the worker does with images, in these accounts.
fn images(policy: &Policy, place: &Place, accounts: &[String]) -> Vec<Statement> {
    let all = repositories(policy, place, accounts, &[&policy.include]);
    let mut statements = vec![
        allow(
            "ReadImages",
            &["ecr:BatchGetImage", "ecr:DescribeImageScanFindings", "ecr:DescribeImages"],
            all.clone(),
        ),
        allow(
            "ReadPullThroughCacheRules",
            &["ecr:DescribePullThroughCacheRules"],
            ["*".to_owned()],
        ),
        // ECR asks Inspector in the caller's name (ECR user guide, "Required IAM permissions for enhanced scanning").
        allow(
            "ReadEnhancedFindings",
            &["inspector2:ListCoverage", "inspector2:ListFindings"],
            ["*".to_owned()],
        ),
    ];
    let changed = if policy.base.mode == Mode::Enforce {
        all
    } else {
        let rules = policy.rules.iter().filter(|rule| rule.terms.mode == Mode::Enforce);
        let globs: Vec<_> = rules.map(|rule| &rule.repositories).collect();
        repositories(policy, place, accounts, &globs)
    };
    if !changed.is_empty() {
        let actions = ["ecr:BatchDeleteImage", "ecr:PutImage"];
        statements.push(allow("ChangeImages", &actions, changed));
    }
    statements
}

/// The ARNs of the repositories that these globs match.
fn repositories(
    policy: &Policy,
    place: &Place,
    accounts: &[String],
    globs: &[&Globs],
) -> Vec<String> {
    let regions: Vec<_> = match &policy.regions {
        Some(regions) => regions.iter().map(ToString::to_string).collect(),
        None => vec!["*".to_owned()],
    };
    let mut names: Vec<_> =
        globs.iter().flat_map(|globs| globs.patterns()).map(|one| wildcard(one)).collect();
    if globs.iter().any(|globs| globs.is_empty()) {
        names = vec!["*".to_owned()];
    }
    names.sort();
    names.dedup();
    let partition = place.partition();
    let mut arns = Vec::new();
    for account in accounts {
        for region in &regions {
            arns.extend(
                names.iter().map(|name| {
                    format!("arn:{partition}:ecr:{region}:{account}:repository/{name}")
                }),
            );
        }
    }
    arns
}

/// IAM knows `*` and `?`; whatever else a glob can say is widened.
fn wildcard(glob: &str) -> String {
    match glob.find(['{', '[', '\\']) {
        Some(at) => format!("{}*", glob.get(..at).unwrap_or_default()),
        None => glob.replace("**", "*"),
    }
}

fn key(
    sid: &'static str,
    actions: &[&'static str],
    place: &Place,
    services: &[String],
) -> Statement {
    let (partition, account) = (place.partition(), place.account());
    Statement {
        condition: Some(json!({"StringEquals": {"kms:ViaService": services}})),
        ..allow(sid, actions, [format!("arn:{partition}:kms:*:{account}:key/*")])
    }
}

fn allow(
    sid: &'static str,
    actions: &[&'static str],
    resources: impl IntoIterator<Item = String>,
) -> Statement {
    let resource = resources.into_iter().collect();
    Statement { sid, effect: "Allow", action: actions.to_vec(), resource, condition: None }
}

fn document(statement: Vec<Statement>) -> Document {
    Document { version: "2012-10-17", statement }
}
