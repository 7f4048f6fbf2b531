//! The IAM policy that a configuration needs, and nothing beyond it: one for the task's role and,
//! with `aws.assume_role`, one for the role in every other account. Permissions to change images
//! are limited to the repositories in which the policy enforces. Parts of an ARN that are not known
//! become `*`.

mod document;

use std::collections::{BTreeMap, BTreeSet};

pub use self::document::Document;
use self::document::{Statement, allow, by_service, document};
use super::scope::{changed, covered};
use crate::config::JudgingSettings;
use crate::domain::names::{AccountId, RegistryId};
use crate::domain::policy::{Policy, Replicated};
use crate::notify::TopicSettings;
use crate::registry::Records;
use crate::restore::RestoreSettings;

/// The actions on the key of a queue or topic that its senders and receivers need.
const KEY_ACTIONS: [&str; 2] = ["kms:Decrypt", "kms:GenerateDataKey"];

/// The actions that read an image, its findings and its records. ListImageReferrers is authorised
/// by the first (ECR API reference).
const IMAGE_READS: [&str; 3] =
    ["ecr:BatchGetImage", "ecr:DescribeImageScanFindings", "ecr:DescribeImages"];

/// The actions that put a record on an image: the manifest, and once a repository the blob that it
/// names. A tag is given back by the first of them alone.
const RECORD_ACTIONS: [&str; 4] =
    ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];

/// What is known of the encryption of a queue or topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing is known.
    #[default]
    Unknown,
    /// No key of the customer's encrypts it.
    NoKey,
    /// This key of the customer's encrypts it.
    Key(String),
}

impl Encryption {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Unknown | Self::NoKey => None,
        }
    }
}

impl From<Option<String>> for Encryption {
    fn from(key: Option<String>) -> Self {
        key.map_or(Self::NoKey, Self::Key)
    }
}

/// The worker's account and Region, and what is known about the encryption of its queue and topics.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The worker's own account and Region, if they are known.
    pub own: Option<RegistryId>,
    /// The queue's name, if it is known.
    pub queue: Option<String>,
    /// The encryption of the queue.
    pub queue_key: Encryption,
    /// The encryption of each topic, by its ARN. A topic without an entry is not known.
    pub topic_keys: BTreeMap<String, Encryption>,
}

impl Place {
    fn account(&self) -> &str {
        self.own.as_ref().map_or("*", |own| own.account.as_str())
    }

    fn region(&self) -> &str {
        self.own.as_ref().map_or("*", |own| own.region.as_str())
    }

    /// Returns whether the key of the queue or of any topic is not known.
    #[must_use]
    pub fn is_key_unknown(&self, topics: &[TopicSettings]) -> bool {
        self.queue_key == Encryption::Unknown
            || topics.iter().any(|one| !self.topic_keys.contains_key(&one.arn))
    }
}

/// The parts that the ARNs of this configuration share.
struct Arns<'a> {
    place: &'a Place,
    partition: &'a str,
}

impl<'a> Arns<'a> {
    /// Takes the partition from a topic's ARN, which is the best source.
    fn new(settings: &'a JudgingSettings, place: &'a Place) -> Self {
        let topic = settings.notify.topics.first();
        let partition = topic.and_then(|topic| topic.arn.split(':').nth(1)).unwrap_or("aws");
        Self { place, partition }
    }

    /// Returns the ARN of a key. Queues and topics name a key by its ARN, its id or an alias, and
    /// IAM does not accept an alias.
    fn key(&self, region: &str, account: &str, key: Option<&str>) -> String {
        let id = match key {
            Some(key) if key.starts_with("arn:") && key.contains(":key/") => return key.to_owned(),
            Some(key) if !key.contains("alias/") && !key.contains(':') => key,
            _ => "*",
        };
        format!("arn:{}:kms:{region}:{account}:key/{id}", self.partition)
    }
}

/// Returns the policy of the task's role.
#[must_use]
pub fn task_policy(settings: &JudgingSettings, place: &Place) -> Document {
    let arns = Arns::new(settings, place);
    let (region, account) = (place.region(), place.account());
    let queue = place.queue.as_deref().unwrap_or("*");
    let mut statements = vec![allow(
        "Queue",
        &[
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
        [format!("arn:{}:sqs:{region}:{account}:{queue}", arns.partition)],
    )];
    let topics = settings.notify.topics.iter().map(|topic| topic.arn.clone());
    statements.push(allow("Topics", &["sns:GetTopicAttributes", "sns:Publish"], topics));
    statements.extend(keys(settings, &arns));
    let accounts = direct_accounts(settings, place);
    if !accounts.is_empty() {
        statements.extend(images(settings, &arns, &accounts));
    }
    let others = other_accounts(&settings.policy, place);
    if let Some(role) = settings.aws.assume_role.as_ref().filter(|_| !others.is_empty()) {
        let roles = others.iter().map(|account| role.replace("{account}", account.as_str()));
        statements.push(allow("OtherAccounts", &["sts:AssumeRole"], roles));
    }
    document(statements)
}

/// Returns the policy of the role that is assumed in other accounts, if there is one.
#[must_use]
pub fn other_accounts_policy(settings: &JudgingSettings, place: &Place) -> Option<Document> {
    settings.aws.assume_role.as_ref()?;
    let accounts: Vec<_> =
        other_accounts(&settings.policy, place).iter().map(ToString::to_string).collect();
    let arns = Arns::new(settings, place);
    (!accounts.is_empty()).then(|| document(images(settings, &arns, &accounts)))
}

/// Returns the accounts whose images the task's role reaches itself, without another role.
fn direct_accounts(settings: &JudgingSettings, place: &Place) -> Vec<String> {
    let mut accounts = Vec::new();
    if covers_own(&settings.policy, place) {
        accounts.push(place.account().to_owned());
    }
    if settings.aws.assume_role.is_none() {
        let others = other_accounts(&settings.policy, place);
        accounts.extend(others.iter().map(ToString::to_string));
    }
    accounts
}

fn covers_own(policy: &Policy, place: &Place) -> bool {
    match (&policy.accounts, &place.own) {
        (Some(accounts), Some(own)) => accounts.contains(&own.account),
        _ => true,
    }
}

/// Returns the accounts that the policy names besides the worker's own.
#[must_use]
pub fn other_accounts<'a>(policy: &'a Policy, place: &Place) -> Vec<&'a AccountId> {
    let own = place.own.as_ref().map(|own| &own.account);
    policy.accounts.iter().flatten().filter(|account| Some(*account) != own).collect()
}

/// Returns the permissions on keys that are the customer's, or may be. Queues and topics use them
/// in the name of the role (developer guides of SQS and SNS, "Key management").
fn keys(settings: &JudgingSettings, arns: &Arns<'_>) -> Vec<Statement> {
    let place = arns.place;
    let mut statements: Vec<_> = queue_key(arns).into_iter().collect();
    let (mut keys, mut through) = (BTreeSet::new(), BTreeSet::new());
    for topic in &settings.notify.topics {
        let encryption = place.topic_keys.get(&topic.arn);
        if encryption == Some(&Encryption::NoKey) {
            continue;
        }
        let (region, key) = (topic.region.as_str(), encryption.and_then(Encryption::key));
        let account = topic.arn.split(':').nth(4).unwrap_or("*");
        keys.insert(arns.key(region, account, key));
        through.extend(services("sns", region));
    }
    if !keys.is_empty() {
        statements.push(by_service("TopicKeys", &KEY_ACTIONS, keys, through));
    }
    statements
}

fn queue_key(arns: &Arns<'_>) -> Option<Statement> {
    let place = arns.place;
    let (region, account) = (place.region(), place.account());
    let keys = [arns.key(region, account, place.queue_key.key())].into();
    let is_needed = place.queue_key != Encryption::NoKey;
    is_needed.then(|| by_service("QueueKey", &KEY_ACTIONS, keys, services("sqs", region)))
}

/// Returns the names of a service for `kms:ViaService`. If a partition has a domain of its own,
/// sources disagree about the ending, so both are allowed.
fn services(service: &str, region: &str) -> BTreeSet<String> {
    const DOMAINS: [(&str, &str); 2] = [("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu")];
    let own = DOMAINS.iter().filter(|(prefix, _)| region.starts_with(prefix));
    let domains = own.map(|(_, domain)| *domain).chain(["amazonaws.com"]);
    domains.map(|domain| format!("{service}.{region}.{domain}")).collect()
}

/// Returns the permissions on images in these accounts.
fn images(settings: &JudgingSettings, arns: &Arns<'_>, accounts: &[String]) -> Vec<Statement> {
    let policy = &settings.policy;
    let mut reads = IMAGE_READS.to_vec();
    // The command `check --live` reads it. Audit mode needs it too, because the warning should come
    // before records are written.
    reads.extend(are_required(settings).then_some("ecr:GetLifecyclePolicy"));
    // Asking for another scan does not change an image, so audit mode needs it too.
    reads.extend(settings.sweep.rescan_after.map(|_| "ecr:StartImageScan"));
    let on = |patterns: Vec<String>| repositories(policy, arns, accounts, &patterns);
    let mut statements = vec![allow("ReadImages", &reads, on(covered(policy)))];
    statements.extend(registry_reads());
    let changed = changed(policy);
    if !changed.is_empty() {
        let puts: &[_] = match are_required(settings) {
            true => &RECORD_ACTIONS,
            false => &["ecr:PutImage"],
        };
        let actions = [&["ecr:BatchDeleteImage"], puts].concat();
        statements.push(allow("ChangeImages", &actions, on(changed.clone())));
        statements.extend(replicas(settings, arns, accounts, &changed));
    }
    // A person asks for a restore, so it does not matter whether the policy enforces.
    if restores(&settings.restore) && changed != covered(policy) {
        statements.push(allow("RestoreImages", &RECORD_ACTIONS, on(covered(policy))));
    }
    statements
}

/// Returns the permissions to read that no resource limits.
fn registry_reads() -> [Statement; 2] {
    [
        // DescribeRepositories without names needs the permission on the whole registry.
        allow(
            "ReadRegistry",
            &[
                "ecr:DescribePullThroughCacheRules",
                "ecr:DescribeRegistry",
                "ecr:DescribeRepositories",
            ],
            ["*".to_owned()],
        ),
        // ECR asks Inspector in the caller's name (ECR user guide, "Required IAM permissions for
        // enhanced scanning").
        allow(
            "ReadEnhancedFindings",
            &["inspector2:ListCoverage", "inspector2:ListFindings"],
            ["*".to_owned()],
        ),
    ]
}

fn are_required(settings: &JudgingSettings) -> bool {
    settings.records == Records::Required
}

fn restores(restore: &RestoreSettings) -> bool {
    !restore.senders.is_empty() || !restore.hold_senders.is_empty()
}

/// Returns the policy of an operator who lists images in quarantine, asks why, and has them
/// restored, if the settings allow anybody to do so. It only reads images, and sends the request to
/// the queue.
#[must_use]
pub fn operator_policy(settings: &JudgingSettings, place: &Place) -> Option<Document> {
    if !restores(&settings.restore) {
        return None;
    }
    let arns = Arns::new(settings, place);
    let (region, account) = (place.region(), place.account());
    let queue = place.queue.as_deref().unwrap_or("*");
    let queue = format!("arn:{}:sqs:{region}:{account}:{queue}", arns.partition);
    let mut statements = vec![allow("Queue", &["sqs:SendMessage"], [queue])];
    statements.extend(queue_key(&arns));
    let accounts = direct_accounts(settings, place);
    let on = repositories(&settings.policy, &arns, &accounts, &covered(&settings.policy));
    statements.push(allow("ReadImages", &IMAGE_READS, on));
    statements.extend(registry_reads());
    Some(document(statements))
}

/// Returns the permission to read the quarantine tag in the registries that repeat removals. Only
/// ECR's own rules name them, so every Region is allowed. With `aws.assume_role`, the role of each
/// account reads there.
fn replicas(
    settings: &JudgingSettings,
    arns: &Arns<'_>,
    accounts: &[String],
    names: &[String],
) -> Option<Statement> {
    let JudgingSettings { policy, aws, .. } = settings;
    let mut terms = policy.rules.as_slice().iter().map(|rule| &rule.terms).chain([&policy.base]);
    if !terms.any(|terms| terms.replicated == Replicated::Follow) {
        return None;
    }
    let any = ["*".to_owned()];
    let accounts = match &aws.assume_role {
        // The permission to read images covers every Region anyway.
        Some(_) if policy.regions.is_none() => return None,
        Some(_) => accounts,
        None => &any,
    };
    let resources = in_registries(arns, accounts, &any, names);
    Some(allow("ReadReplicas", &["ecr:DescribeImages"], resources))
}

/// Returns the ARNs of repositories with these names.
fn repositories(
    policy: &Policy,
    arns: &Arns<'_>,
    accounts: &[String],
    names: &[String],
) -> Vec<String> {
    let regions: Vec<_> = match &policy.regions {
        Some(regions) => regions.iter().map(ToString::to_string).collect(),
        None => vec!["*".to_owned()],
    };
    in_registries(arns, accounts, &regions, names)
}

fn in_registries(
    arns: &Arns<'_>,
    accounts: &[String],
    regions: &[String],
    names: &[String],
) -> Vec<String> {
    let partition = arns.partition;
    let mut all = Vec::new();
    for account in accounts {
        for region in regions {
            let arn = |name| format!("arn:{partition}:ecr:{region}:{account}:repository/{name}");
            all.extend(names.iter().map(arn));
        }
    }
    all
}
