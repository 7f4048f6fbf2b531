//! Tests of the messages of a sweep.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{
    AccountId, Digest, Region, RegistryId, Repository, RepositoryName, Tag,
};
use crate::domain::origin::Origin;
use crate::event::sweep::{self, Found, MAX_SLICES, Order, Part, Slice, Step, Told};
use crate::event::{Claim, Kind, Malformed, Parsed, parse};

fn own() -> RegistryId {
    let (account, region) = (AccountId::parse("111122223333"), Region::parse("eu-west-1"));
    RegistryId { account: account.unwrap(), region: region.unwrap() }
}

fn read(event: &Value) -> Result<Parsed, Malformed> {
    parse(&event.to_string(), &own())
}

fn ordered(event: &Value) -> Order {
    match read(event) {
        Ok(Parsed::Sweep(order)) => *order,
        other => panic!("{other:?}"),
    }
}

fn ours(detail_type: &str, detail: &Value) -> Value {
    json!({"source": "tagwarden", "detail-type": detail_type, "detail": detail})
}

#[test]
fn every_form_of_schedule_asks_for_a_full_sweep() {
    for detail in [json!({}), json!("{}"), json!(""), Value::Null] {
        let order = ordered(&ours("Sweep Registry", &detail));
        assert_eq!((order.step, order.sweep), (Step::All, None), "{detail}");
    }
    let without = json!({"source": "tagwarden", "detail-type": "Sweep Registry"});
    assert_eq!(ordered(&without).step, Step::All);
    for source in ["aws.scheduler", "aws.events"] {
        let event =
            json!({"source": source, "detail-type": "Scheduled Event", "id": "x", "detail": "{}"});
        let order = ordered(&event);
        assert_eq!((order.step, order.origin.id.as_deref()), (Step::All, Some("x")), "{source}");
    }
}

#[test]
fn registry_is_named_by_account_or_region() {
    let step = |detail: Value| ordered(&ours("Sweep Registry", &detail)).step;
    let registry_id = |account: &str, region: &str| {
        Step::Registry(RegistryId {
            account: AccountId::parse(account).unwrap(),
            region: Region::parse(region).unwrap(),
        })
    };
    assert_eq!(step(json!({"account": "444455556666"})), registry_id("444455556666", "eu-west-1"));
    assert_eq!(step(json!({"region": "us-east-1"})), registry_id("111122223333", "us-east-1"));
}

#[test]
fn image_of_a_sweep_is_assessed_like_any_other() {
    let order = Order { origin: origin(), sweep: Some("s".to_owned()), step: Step::All };
    let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
    let tags = [Tag::parse("1.0").unwrap(), Tag::parse("latest").unwrap()];
    let body = sweep::image(&order, &repository("team/app"), &digest, &tags);
    let Ok(Parsed::Assess(event)) = parse(&body, &own()) else { panic!("{body}") };
    assert_eq!((event.kind, &event.claim), (Kind::Sweep, &Claim::Nothing));
    assert_eq!(event.origin.id.as_deref(), Some("s"), "one notice per image and sweep");
    assert_eq!(event.repository, repository("team/app"));
    assert_eq!((event.digest, event.tags.as_slice()), (Some(digest), tags.as_slice()));
}

#[test]
fn malformed_sweep_message_names_the_problem() {
    let problem = |detail_type: &str, detail: Value| {
        read(&ours(detail_type, &detail)).unwrap_err().to_string()
    };
    assert_eq!(problem("Sweep Registry", json!([])), "detail is not a JSON object");
    assert_eq!(problem("Sweep Registry", json!("[]")), "detail is not a JSON object");
    assert!(
        problem("Sweep Registry", json!({"account": "x"})).starts_with("detail.account is not")
    );
    for detail_type in ["Sweep Repository", "Sweep Image"] {
        let missing = problem(detail_type, json!({}));
        assert!(missing.starts_with("detail: missing field `repository` at line 1"), "{missing}");
    }
    let missing = problem("Sweep Result", json!({"repositories": {"a1": {}}}));
    assert!(missing.starts_with("detail: missing field `of` at line 1"), "{missing}");
    let missing = problem("Sweep Result", json!({"of": 1}));
    assert!(missing.starts_with("detail: missing field `repositories` at line 1"), "{missing}");
    let wrong = problem("Sweep Result", json!({"told": "today"}));
    assert!(wrong.starts_with("detail.told: invalid type: a string, expected u32"), "{wrong}");
    let wrong = problem("Sweep Repository", json!({"repository": "a1", "census": {"clean": -1}}));
    assert!(wrong.starts_with("detail.census.clean: invalid value"), "{wrong}");
    assert!(
        problem("Sweep Repository", json!({"repository": "a b"})).starts_with("detail.repository")
    );
    let long = json!({"sweep": "s".repeat(129)});
    assert!(problem("Sweep Registry", long).starts_with("detail.sweep exceeds 128 bytes"));
    let counts = json!({"repository": "a", "census": {"heaven": 1}});
    assert!(problem("Sweep Repository", counts).starts_with("the census counts an unknown state"));
}

#[test]
fn other_types_of_schedules_and_of_ours_are_ignored() {
    for (source, detail_type) in
        [("aws.scheduler", "Other"), ("tagwarden", "Other"), ("other", "Sweep Registry")]
    {
        let event = json!({"source": source, "detail-type": detail_type, "detail": {}});
        assert!(matches!(read(&event), Ok(Parsed::Ignored { .. })), "{source} {detail_type}");
    }
}

#[test]
fn claims_of_forged_messages_are_bounded() {
    let result = |detail: Value| ours("Sweep Result", &detail);
    let of = |names: usize| -> serde_json::Map<_, _> {
        (0..names).map(|number| (format!("r{number}"), json!({}))).collect()
    };
    assert!(read(&result(json!({"of": 1, "repositories": of(4_096)}))).is_ok());
    for (forged, expected) in [
        (json!({"of": 1, "repositories": of(4_097)}), "exceeds 4,096"),
        (json!({"of": 1, "repositories": {}}), "is empty"),
        (json!({"of": 1_000_001, "repositories": of(1)}), "detail.of exceeds"),
        (
            json!({"of": 1, "repositories": {"a1": {"clean": 1_000_001}}}),
            "more than 1,000,000 images",
        ),
        (json!({"of": 1, "repositories": {"a1": {"fine": 1}}}), "an unknown state"),
    ] {
        let error = read(&result(forged)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let slice = json!({"repository": "team/app", "slices": MAX_SLICES + 1});
    let error = read(&ours("Sweep Repository", &slice)).unwrap_err().to_string();
    assert!(error.contains("detail.slices"), "{error}");
}

fn origin() -> Origin {
    Origin {
        id: None,
        source: "tagwarden".to_owned(),
        detail_type: "Sweep Registry".to_owned(),
        time: Some("2026-01-02T03:04:05Z".to_owned()),
        at: humantime::parse_rfc3339("2026-01-02T03:04:05Z").ok(),
    }
}

fn repository(name: &str) -> Repository {
    let RegistryId { account, region } = own();
    Repository { account, region, name: RepositoryName::parse(name).unwrap() }
}

fn any_census() -> impl Strategy<Value = Census> {
    let coverage = prop::sample::select(Coverage::ALL.to_vec());
    prop::collection::btree_map(coverage, 1..=1_000_000_u64, 0..5).prop_map(|counts| {
        let mut census = Census::default();
        counts.into_iter().for_each(|(coverage, images)| census.add(coverage, images));
        census
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let name = "[a-z]{2,8}(/[a-z0-9]{1,8})?";
    let numbers = (any::<[u32; 2]>(), 0..=1_000_000_u32, 0..=MAX_SLICES);
    let slice = (name, numbers, prop::option::of("\\PC{1,20}"), any_census());
    let slice = slice.prop_map(|(name, ([number, waits], of, slices), next_token, census)| {
        let repository = repository(&name);
        Step::Repository(Slice { repository, number, of, slices, waits, next_token, census })
    });
    let part = (any_census(), any::<bool>()).prop_map(|(census, is_cut)| Part { census, is_cut });
    let repositories = prop::collection::btree_map(name, part, 0..5);
    let found = (0..=1_000_000_u32, repositories).prop_map(|(of, repositories)| {
        let named = |(name, part): (String, _)| (RepositoryName::parse(name).unwrap(), part);
        let repositories: BTreeMap<_, _> = repositories.into_iter().map(named).collect();
        let of = if repositories.is_empty() { 0 } else { of };
        Step::Result(Found { registry_id: own(), of, repositories })
    });
    let told = any::<(u32, bool)>().prop_map(|(seconds, is_whole)| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        Step::Told(Told { registry_id: own(), at, is_whole })
    });
    prop_oneof![Just(Step::All), Just(Step::Registry(own())), slice, found, told]
}

proptest! {
    #[test]
    fn step_is_read_as_it_was_sent(step in any_step(), sweep in "\\PC{1,32}") {
        let sent = Order { origin: origin(), sweep: Some(sweep), step };
        let Ok(Parsed::Sweep(read)) = parse(&sent.body(), &own()) else {
            panic!("{}", sent.body());
        };
        prop_assert_eq!(&read.sweep, &sent.sweep);
        prop_assert_eq!(&read.step, &sent.step);
        prop_assert_eq!(read.origin.at, sent.origin.at, "when the sweep began goes with it");
    }
}
