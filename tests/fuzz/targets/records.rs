//! Any list of artifacts as the referrers of an image: it gives a history, and nothing unsigned
//! counts where there is a key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName};
use tagwarden::domain::record::{
    Artifact, History, HoldInForce, KnownRecords, Record, RestoreKeys, read_manifest,
};

/// A key that has signed nothing in the corpus.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn digest(number: usize) -> Digest {
    Digest::parse(format!("sha256:{number:064x}")).unwrap()
}

fn repository() -> Repository {
    Repository {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
        name: RepositoryName::parse("team/app").unwrap(),
    }
}

/// The annotations of each artifact: a list of objects of texts, or any text as one annotation.
fn artifacts(text: &str) -> Vec<Artifact> {
    let lists: Vec<BTreeMap<String, Value>> = serde_json::from_str(text).unwrap_or_else(|_| {
        vec![BTreeMap::from([("tagwarden.kind".to_owned(), Value::from(text))])]
    });
    let texts = lists.into_iter().map(|members| -> BTreeMap<_, _> {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        members.into_iter().map(|(name, value)| (name, text(value))).collect()
    });
    let artifact =
        |(at, annotations)| Artifact { digest: digest(at), annotations, pushed_at: None };
    texts.enumerate().map(artifact).collect()
}

/// Reads a list of artifacts in JSON.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(read_manifest(&text));
    let artifacts = artifacts(&text);
    for artifact in &artifacts {
        let Ok(record) = Record::read(&artifact.annotations) else { continue };
        let written = record.annotations();
        let again = Record::read(&written).unwrap();
        assert_eq!(again.annotations(), written, "a record is written as it was read");
    }
    let (repository, image) = (repository(), digest(1_000));
    let read = |keys| History::read(&repository, &image, artifacts.clone(), keys);
    let keys = RestoreKeys::parse(KEY).unwrap();
    let strict = read(Some(&keys));
    assert_eq!(strict.unverified().len(), artifacts.len(), "nothing unsigned counts");
    assert!(strict.open_tags().is_empty() && strict.holds().is_empty());
    let history = read(None);
    let counted = history.quarantines().len() + history.outcomes().len() + history.holds().len();
    assert!(counted + history.unverified().len() <= artifacts.len());
    let named: Vec<_> =
        history.quarantines().iter().flat_map(|one| one.record.tags.iter().cloned()).collect();
    assert!(history.open_tags().iter().all(|open| named.contains(open.tag)));
    let known = KnownRecords::of(&history, false, &named);
    let open: BTreeSet<_> = known.open.iter().flat_map(|record| &record.tags).collect();
    assert_eq!(open.len(), history.open_tags().len());
    // The corpus has a hold from the first day of 2026 on.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_312_000);
    assert_eq!(HoldInForce::of(&strict, now, WEEK), None);
    if let Some(hold) = HoldInForce::of(&history, now, WEEK) {
        assert!(hold.until > now);
        let shown = hold.to_string();
        assert!(shown.ends_with("(not verified here)") && !shown.contains(char::is_control));
    }
}
