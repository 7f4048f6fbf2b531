//! What the worker is at when it dies.

use std::time::Duration;

use aws_sim::manifest::{self, Entry};
use aws_sim::{Call, DeleteRules, ReplicationRule, ScanResult, SimConfig};
use serde_json::{Value, json};

use super::check::Gap;
use crate::support::{ACCOUNT, QUEUE, REGION, World, basic, critical, in_repository, quarantine};

/// A registry, a policy, and events in the queue.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) set: fn() -> World,
    pub(super) topics: &'static [&'static str],
    /// The words of the notices of an undisturbed run, in order, by each topic.
    pub(super) told: &'static [&'static str],
    /// How many tags an undisturbed run takes off, if only for a moment.
    pub(super) went: usize,
    /// What may differ after a crash; each of these is known to happen.
    pub(super) permits: &'static [Gap],
    /// How many pairs of crashes are tried.
    pub(super) pairs: usize,
    /// The last call that is a crash point; none given means all are.
    pub(super) last: Option<fn(&Call) -> bool>,
}

/// Two tags, both named by the event.
pub(super) const TWO_TAGS: Scene = Scene {
    name: "two tags",
    set: || {
        let world = world();
        world.violating(&["1.0", "latest"]);
        world
    },
    topics: &["team"],
    told: &["quarantined"],
    went: 2,
    permits: &[],
    pairs: 30,
    last: None,
};

const NOTHING: Scene = Scene { told: &[], went: 0, ..TWO_TAGS };

pub(super) const CLEAN: Scene = Scene {
    name: "clean by its event",
    set: || {
        let world = world();
        let digest = world.image(&["1.0"], critical());
        world.send(&basic(&digest, &["1.0"], &json!({"MEDIUM": 9})));
        world
    },
    ..NOTHING
};

pub(super) const CLEAN_BY_A_LOOK: Scene = Scene {
    name: "clean by a look",
    set: || {
        let world = world();
        let digest = world.image(&["1.0"], clean());
        world.scanned(&digest);
        world
    },
    ..NOTHING
};

pub(super) const PROTECTED_SIBLING: Scene = Scene {
    name: "protected sibling",
    set: || {
        let world = world().set("POLICY__PROTECTED_TAGS", "prod-*");
        world.violating(&["1.0", "prod-eu"]);
        world
    },
    went: 1,
    ..TWO_TAGS
};

/// The repository lacks the blob that every record names.
pub(super) const NEW_REPOSITORY: Scene = Scene {
    name: "new repository",
    set: || {
        let mut world = world();
        world.repository = world.sim.create_repository("team/new");
        let digest = world.image(&["1.0", "latest"], critical());
        let event = basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1}));
        world.send(&in_repository(event, "team/new"));
        world
    },
    ..TWO_TAGS
};

/// The holds are read right before the tags are removed.
pub(super) const SIGNED: Scene = Scene {
    name: "signed records",
    set: || {
        let world = world().set("RESTORE__KEY", &"k".repeat(43));
        world.violating(&["1.0", "latest"]);
        world
    },
    ..TWO_TAGS
};

/// The repository takes no record.
pub(super) const FULL: Scene = Scene {
    name: "full repository",
    set: || {
        let world = world();
        world.violating(&["1.0", "latest"]);
        world.sim.set_image_limit(&world.repository, 1);
        world
    },
    told: &["blocked", "quarantined"],
    ..TWO_TAGS
};

pub(super) const DELETE: Scene = Scene {
    name: "action delete",
    set: || {
        let world = world().set("POLICY__ACTION", "delete");
        world.violating(&["1.0", "latest"]);
        world
    },
    told: &["deleted"],
    ..TWO_TAGS
};

pub(super) const INDEX: Scene = Scene {
    name: "index",
    set: || {
        let world = world();
        let child = an_index(&world, &[]);
        world.send(&basic(&child, &[], &json!({"CRITICAL": 1})));
        world
    },
    permits: &[Gap::Unnamed],
    ..TWO_TAGS
};

/// The tagged index holds the bad image by an index in it.
pub(super) const NESTED_INDEX: Scene = Scene {
    name: "index in an index",
    set: || {
        let world = world();
        let bad = world.sim.push_image(&world.repository, &[], "bad");
        world.sim.set_findings(&world.repository, &bad, critical());
        let push = |tags: &[&str], entry: Entry| {
            world.sim.push_manifest(&world.repository, tags, &manifest::index_of(&[entry]))
        };
        let inner = push(&[], Entry::image(&bad));
        push(&["1.0", "latest"], Entry::index(&inner));
        world.send(&basic(&bad, &[], &json!({"CRITICAL": 1})));
        world
    },
    ..INDEX
};

/// The index, and the child under a tag of its own.
pub(super) const INDEX_AND_CHILD_DELETED: Scene = Scene {
    name: "index and child, action delete",
    set: || {
        let world = world().set("POLICY__ACTION", "delete");
        let child = an_index(&world, &["1.0-amd64"]);
        world.send(&basic(&child, &["1.0-amd64"], &json!({"CRITICAL": 1})));
        world
    },
    told: &["deleted", "deleted"],
    went: 3,
    permits: &[Gap::Unnamed, Gap::OtherWord],
    ..INDEX
};

pub(super) const NOTICE_ONLY: Scene = Scene {
    name: "notice only",
    set: || {
        let world = world().set("POLICY__PROTECTED_TAGS", "prod-*");
        world.violating(&["prod-eu"]);
        world
    },
    told: &["blocked"],
    ..NOTHING
};

pub(super) const OVER_A_HUNDRED_TAGS: Scene = Scene {
    name: "over a hundred tags",
    set: || {
        let world = world();
        let tags: Vec<_> = (0..120).map(|number| format!("t{number:03}")).collect();
        world.violating(&tags.iter().map(String::as_str).collect::<Vec<_>>());
        world
    },
    went: 120,
    ..TWO_TAGS
};

pub(super) const AUDIT: Scene = Scene {
    name: "audit",
    set: || {
        let world = world().set("POLICY__MODE", "audit").set("POLICY__PROTECTED_TAGS", "prod-*");
        world.violating(&["1.0", "prod-eu"]);
        world
    },
    told: &["would_untag"],
    ..NOTHING
};

pub(super) const FINDINGS_PENDING: Scene = Scene {
    name: "findings pending",
    set: || {
        let scan_time = Duration::from_secs(10);
        let world = prepared(World::with(SimConfig { scan_time, ..SimConfig::default() }));
        world.sim.set_scan_on_push(&world.repository, true);
        world.violating(&["1.0", "latest"]);
        world
    },
    ..TWO_TAGS
};

pub(super) const SEVERAL_TOPICS: Scene = Scene {
    name: "several topics",
    set: || {
        let world = world().with_topics(&[("one", ""), ("other", "format = \"json\"")]);
        world.violating(&["1.0", "latest"]);
        world
    },
    topics: &["one", "other"],
    ..TWO_TAGS
};

/// The tags of such an event lead to the images, and only as long as they are there.
pub(super) const NO_DIGEST: Scene = Scene {
    name: "no digest",
    set: || {
        let world = world();
        world.image(&["1.0"], critical());
        world.image(&["2.0"], critical());
        let mut event = basic("", &["1.0", "2.0"], &json!({"CRITICAL": 1}));
        event["detail"]["image-digest"] = Value::Null;
        world.send(&event);
        world
    },
    told: &["quarantined", "quarantined"],
    permits: &[Gap::Untold],
    ..TWO_TAGS
};

pub(super) const BY_SNS: Scene = Scene {
    name: "in the envelope of SNS",
    set: || {
        let world = world();
        let digest = world.image(&["1.0", "latest"], critical());
        let event = basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1}));
        let feed = world.sim.create_topic("feed");
        world.send(&json!({
            "Type": "Notification",
            "MessageId": "00000000-0000-4000-8000-000000000003",
            "TopicArn": feed,
            "Message": event.to_string(),
            "Timestamp": "2026-01-02T03:04:05.000Z",
        }));
        world
    },
    ..TWO_TAGS
};

/// Three tags at two an hour.
pub(super) const LIMITED: Scene = Scene {
    name: "more tags than an hour's limit",
    set: || {
        let world = world().with_file("limits.untags_per_hour = 2");
        world.violating(&["1.0", "1.0.1", "latest"]);
        world
    },
    told: &["quarantined", "blocked", "quarantined"],
    went: 3,
    permits: &[Gap::OtherWord],
    // An hour of idle receives in each.
    pairs: 10,
    ..TWO_TAGS
};

pub(super) const PUT_OFF: Scene = Scene {
    name: "put off by the limit",
    set: || {
        let limit = world().with_file("limits.untags_per_hour = 1");
        let world = limit.set("QUEUE__MAX_IN_FLIGHT", "1");
        world.violating(&["1.0"]);
        world.violating(&["2.0"]);
        world
    },
    told: &["quarantined", "blocked", "quarantined"],
    permits: &[Gap::OtherWord],
    // An hour of idle receives in each.
    pairs: 10,
    ..TWO_TAGS
};

pub(super) const ARCHIVED: Scene = Scene {
    name: "archived",
    set: || {
        let world = world();
        let digest = world.violating(&["1.0"]);
        world.sim.archive_image(&world.repository, &digest);
        world
    },
    told: &["unscanned"],
    ..NOTHING
};

/// Every quarantine tag is on another image, and none of them moves.
pub(super) const MARK_REFUSED: Scene = Scene {
    name: "mark refused",
    set: || {
        let world = world();
        let digest = world.violating(&["1.0"]);
        squat(&world, &digest, 10);
        world
    },
    told: &["blocked"],
    ..NOTHING
};

/// The first quarantine tags are on another image: the next one is the mark.
pub(super) const SQUAT: Scene = Scene {
    name: "squat",
    set: || {
        let world = world();
        let digest = world.violating(&["1.0", "latest"]);
        squat(&world, &digest, 2);
        world
    },
    ..TWO_TAGS
};

pub(super) const SQUAT_AND_DELETE: Scene = Scene {
    name: "squat, action delete",
    set: || {
        let world = world().set("POLICY__ACTION", "delete");
        let digest = world.violating(&["1.0", "latest"]);
        squat(&world, &digest, 2);
        world
    },
    ..DELETE
};

/// Puts the first quarantine tags of an image on another one.
fn squat(world: &World, digest: &str, taken: usize) {
    let more = (1..taken).map(|number| format!("{}.{number}", quarantine(digest)));
    let marks: Vec<_> = std::iter::once(quarantine(digest)).chain(more).collect();
    let names: Vec<_> = marks.iter().map(String::as_str).collect();
    let squatter = world.sim.push_image(&world.repository, &names, "squatter");
    world.sim.set_findings(&world.repository, &squatter, clean());
}

pub(super) const IMMUTABLE: Scene = Scene {
    name: "immutable tags",
    set: || {
        let world = world();
        world.sim.set_tag_mutability(&world.repository, "IMMUTABLE", &[]);
        world.violating(&["1.0", "latest"]);
        world
    },
    ..TWO_TAGS
};

/// A registry that takes the whole image for any tag of it.
pub(super) const OVER_REACH: Scene = Scene {
    name: "over-reach",
    set: || {
        let delete_rules = DeleteRules::WholeImage;
        let world = prepared(World::with(SimConfig { delete_rules, ..SimConfig::default() }));
        let world = world.set("POLICY__PROTECTED_TAGS", "prod");
        world.violating(&["1.0", "latest", "prod"]);
        world
    },
    told: &["failed"],
    went: 3,
    permits: &[Gap::ImageLost, Gap::TagLost, Gap::OtherWord],
    ..TWO_TAGS
};

pub(super) const A_TAG_THAT_THE_EVENT_DOES_NOT_NAME: Scene = Scene {
    name: "a tag that the event does not name",
    set: || {
        let world = world();
        let digest = world.violating(&["1.0"]);
        world.sim.tag_image(&world.repository, "latest", &digest);
        world
    },
    permits: &[Gap::Unnamed],
    ..TWO_TAGS
};

/// One names one tag, the other the other.
pub(super) const TWO_EVENTS: Scene = Scene {
    name: "two events about one image",
    set: || two_events(world()),
    permits: &[Gap::OtherEvent],
    ..TWO_TAGS
};

pub(super) const TWO_EVENTS_AND_DELETE: Scene = Scene {
    name: "two events about one image, action delete",
    set: || two_events(world().set("POLICY__ACTION", "delete")),
    told: &["deleted"],
    permits: &[Gap::Unnamed, Gap::OtherEvent],
    ..TWO_EVENTS
};

/// An image whose tags have to go, and one that nothing has scanned.
pub(super) const SLICE: Scene = Scene {
    name: "a slice of a sweep",
    set: || {
        let world = world();
        world.image(&["1.0", "latest"], critical());
        world.sim.push_image(&world.repository, &["never"], "never");
        let detail = json!({"sweep": "s", "repository": "team/app", "of": 1});
        world.send(&json!({
            "source": "tagwarden", "detail-type": "Sweep Repository", "time": "2026-01-02T03:04:05Z", "detail": detail,
        }));
        world
    },
    // Then it only goes round, for ten minutes.
    last: Some(|call| call.request.to_string().contains("told")),
    ..TWO_TAGS
};

/// Every change takes a few seconds to the copy, and a removal may overtake the quarantine tag.
pub(super) const REPLICATED: Scene = Scene {
    name: "removals that are repeated",
    set: || {
        let world = world().set("POLICY__REPLICATED", "follow");
        let replicate = |takes: std::ops::RangeInclusive<u64>| {
            let takes = Duration::from_secs(*takes.start())..=Duration::from_secs(*takes.end());
            let rule = ReplicationRule::to(&[(ACCOUNT, "us-east-1")]).deletes(true);
            world.sim.set_replication(ACCOUNT, REGION, vec![rule], takes);
        };
        replicate(0..=0);
        world.violating(&["1.0", "latest"]);
        replicate(1..=6);
        world
    },
    ..TWO_TAGS
};

fn two_events(world: World) -> World {
    let digest = world.image(&["1.0", "latest"], critical());
    for tag in ["1.0", "latest"] {
        let mut event = basic(&digest, &[tag], &json!({"CRITICAL": 1}));
        event["id"] = json!(format!("event about {tag}"));
        world.send(&event);
    }
    world
}

pub(super) fn world() -> World {
    prepared(World::new())
}

/// A queue that outlasts two crashes, and a neighbour whose tag is none of our business.
fn prepared(world: World) -> World {
    world.sim.create_queue_with_redrive(QUEUE, 10, &[]);
    world.image(&["neighbour"], clean());
    world
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

/// An index with two tags and two children, one of them bad, which is given back.
fn an_index(world: &World, tags_of_bad: &[&str]) -> String {
    let bad = world.sim.push_image(&world.repository, tags_of_bad, "bad");
    let good = world.sim.push_image(&world.repository, &[], "good");
    world.sim.set_findings(&world.repository, &bad, critical());
    world.sim.set_findings(&world.repository, &good, clean());
    let children = [(bad.as_str(), "linux/amd64"), (good.as_str(), "linux/arm64")];
    world.sim.push_index(&world.repository, &["1.0", "latest"], &children);
    bad
}
