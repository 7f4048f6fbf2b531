//! Any bytes as the body of a message: an event, an event that is not for us, or malformed.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tagwarden::domain::findings::Finding;
use tagwarden::domain::names::{
    AccountId, Digest, Region, RegistryId, Repository, RepositoryName, Tag,
};
use tagwarden::domain::origin::Origin;
use tagwarden::domain::policy::Reporting;
use tagwarden::event::restore::{RestoreAction, RestoreOrder};
use tagwarden::event::sweep::Order;
use tagwarden::event::{Claim, ImageEvent, Kind, Malformed, Parsed, parse};

/// The closed set of the metric label `kind`.
const KINDS: [&str; 8] = [
    "ecr_image_action",
    "ecr_image_scan",
    "inspector2_finding",
    "inspector2_scan",
    "malformed",
    "other",
    "restore",
    "sweep",
];
/// Bytes of the longest line that an error may become.
const LONGEST_ERROR: usize = 512;
/// Stands in a body where nothing of the body may be quoted.
const CANARY: &str = "not ours to print";

/// Parses a body, and holds what comes of it against what the worker relies on.
pub(crate) fn run(data: &[u8]) {
    let body = String::from_utf8_lossy(data);
    let own = own();
    let parsed = parse(&body, &own);
    assert_eq!(parsed, parse(&body, &own), "the same body is read in the same way");
    match &parsed {
        Ok(Parsed::Assess(event)) => event_is_checked(event),
        Ok(Parsed::Sweep(order)) => {
            origin_is_printable(&order.origin);
            sent_on_it_is_the_same(order, &own);
        }
        Ok(Parsed::Restore { origin, order }) => {
            origin_is_printable(origin);
            sent_again_it_is_the_same(order, &own);
        }
        Ok(Parsed::Ignored { kind, origin, reason }) => {
            assert!(KINDS.contains(&kind.as_str()) && *kind != Kind::Malformed);
            assert!(is_line(reason, 100), "{reason:?}");
            origin_is_printable(origin);
        }
        Err(malformed) => error_is_a_short_line(malformed),
    }
    by_sns_it_is_the_same(&body, &parsed, &own);
    nothing_is_quoted(&body, data.len(), &own);
}

fn own() -> RegistryId {
    RegistryId {
        account: AccountId::parse("999988887777").unwrap(),
        region: Region::parse("eu-central-1").unwrap(),
    }
}

fn is_line(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && !text.contains(char::is_control)
}

fn error_is_a_short_line(malformed: &Malformed) {
    let text = malformed.to_string();
    assert!(is_line(&text, LONGEST_ERROR), "{text:?}");
}

fn origin_is_printable(origin: &Origin) {
    let given = [&origin.id, &origin.time].into_iter().flatten();
    for text in given.chain([&origin.source, &origin.detail_type]) {
        assert!(text.len() <= 512 && !text.contains(char::is_control), "{text:?}");
    }
    assert!(origin.at.is_none() || origin.time.is_some());
}

fn event_is_checked(event: &ImageEvent) {
    let ImageEvent { kind, origin, repository, digest, tags, claim } = event;
    assert!(KINDS.contains(&kind.as_str()));
    origin_is_printable(origin);
    let Repository { account, region, name } = repository;
    assert_eq!(AccountId::parse(account.as_str()).as_ref(), Ok(account));
    assert_eq!(Region::parse(region.as_str()).as_ref(), Ok(region));
    assert_eq!(RepositoryName::parse(name.as_str()).as_ref(), Ok(name));
    if let Some(digest) = digest {
        assert_eq!(Digest::parse(digest.as_str()).as_ref(), Ok(digest));
    }
    for tag in tags {
        assert_eq!(Tag::parse(tag.as_str()).as_ref(), Ok(tag));
    }
    assert!(digest.is_some() || !tags.is_empty(), "an event leads to an image");
    match (kind, claim) {
        (Kind::EcrImageScan, Claim::Complete { reporting, .. }) => {
            assert_eq!(*reporting, Reporting::AbsentIsZero);
        }
        (Kind::Inspector2Scan, Claim::Complete { reporting, .. }) => {
            assert_eq!(*reporting, Reporting::AbsentIsUnknown);
        }
        (Kind::Inspector2Finding, Claim::Active(finding)) => finding_is_in_lines(finding),
        (Kind::EcrImageScan | Kind::Inspector2Scan, Claim::Failed | Claim::Nothing)
        | (Kind::EcrImageAction | Kind::Inspector2Finding | Kind::Sweep, Claim::Nothing) => {}
        other => panic!("{other:?}"),
    }
}

fn finding_is_in_lines(finding: &Finding) {
    let packages = finding.packages.iter().flat_map(|package| {
        [Some(&package.name), package.installed.as_ref(), package.fixed.as_ref()]
    });
    for text in packages.chain([Some(&finding.id), finding.link.as_ref()]).flatten() {
        assert!(text.chars().count() <= 256 && !text.contains(char::is_control), "{text:?}");
    }
}

/// A step that a task sends on is read as it was, whatever was in it.
fn sent_on_it_is_the_same(order: &Order, own: &RegistryId) {
    let order = Order { sweep: order.sweep.clone().or(Some("sweep".to_owned())), ..order.clone() };
    match parse(&order.body(), own) {
        Ok(Parsed::Sweep(read)) => {
            assert_eq!((&read.step, &read.sweep), (&order.step, &order.sweep));
        }
        other => panic!("{order:?} is read as {other:?}"),
    }
}

/// A request that is written anew is read as it was, and its texts are lines.
fn sent_again_it_is_the_same(order: &RestoreOrder, own: &RegistryId) {
    if let RestoreAction::Hold { reason, owner, .. } = &order.action {
        assert!(is_line(reason, 4 * 256) && is_line(owner, 4 * 128), "{reason:?} {owner:?}");
    }
    match parse(&order.body(), own) {
        Ok(Parsed::Restore { order: read, .. }) => assert_eq!(&*read, order),
        other => panic!("{order:?} is read as {other:?}"),
    }
}

fn by_sns(body: &str) -> String {
    let topic = "arn:aws:sns:eu-west-1:111122223333:scans";
    json!({"Type": "Notification", "TopicArn": topic, "Message": body}).to_string()
}

/// An SNS notification of a body is read like the body, but one inside another is not.
fn by_sns_it_is_the_same(body: &str, parsed: &Result<Parsed, Malformed>, own: &RegistryId) {
    let wrapped = parse(&by_sns(body), own);
    let keys = serde_json::from_str::<HashMap<String, IgnoredAny>>(body).unwrap_or_default();
    let may_be_of_sns = ["Type", "TopicArn", "Message"].iter().all(|key| keys.contains_key(*key));
    match (parsed, &wrapped) {
        (Ok(Parsed::Restore { .. }), Ok(wrapped)) => panic!("{wrapped:?} by a topic"),
        (Ok(Parsed::Restore { .. }), Err(wrapped)) => error_is_a_short_line(wrapped),
        (Ok(parsed), Ok(wrapped)) => assert_eq!(parsed, wrapped),
        (Err(malformed), Err(wrapped)) => {
            error_is_a_short_line(wrapped);
            let same = wrapped.to_string() == format!("in an SNS notification: {malformed}");
            assert!(same || may_be_of_sns, "{malformed} / {wrapped}");
        }
        (Ok(_), Err(wrapped)) => {
            error_is_a_short_line(wrapped);
            assert!(may_be_of_sns, "{wrapped}");
        }
        (Err(malformed), Ok(_)) => panic!("{malformed}, but not in a notification"),
    }
}

/// Puts the canary into one of the body's strings: it must not come back in an error.
fn nothing_is_quoted(body: &str, which: usize, own: &RegistryId) {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return };
    let mut places = Vec::new();
    strings(&mut value, &mut places);
    if places.is_empty() {
        return;
    }
    let which = which % places.len();
    places.swap_remove(which).insert_str(0, CANARY);
    let body = value.to_string();
    for body in [by_sns(&body), body] {
        if let Err(malformed) = parse(&body, own) {
            error_is_a_short_line(&malformed);
            assert!(!malformed.to_string().contains(CANARY), "{malformed}");
        }
    }
}

fn strings<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter_mut().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values_mut().for_each(|field| strings(field, found)),
        _ => {}
    }
}
