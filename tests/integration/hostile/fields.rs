//! The names of the fields of a log line, and the audit records.

use aws_sim::{FaultRule, ScanResult};
use serde_json::{Value, json};
use tagwarden::telemetry::logs::LogFormat;

use super::logs::Log;
use crate::worker::{QUEUE, World};

/// The log of a worker that works until its queue is empty.
async fn log_of(world: &World) -> Vec<Value> {
    let (log, guard) = Log::of_this_thread(LogFormat::Json);
    world.run_to_the_end().await;
    drop(guard);
    let lines = log.check(LogFormat::Json);
    for line in &lines {
        let names = names(line);
        assert_eq!(names[..4], ["timestamp", "level", "target", "message"], "{line}");
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "a name that occurs twice: {line}");
        assert!(!names.iter().any(|name| name.contains('.')), "a field for traces: {line}");
    }
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of a line's members in their written order.
fn names(line: &str) -> Vec<String> {
    #[derive(Debug)]
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, Value>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Names>(line).unwrap().0
}

/// The audit records, each by its message and its subject.
fn audit(log: &[Value]) -> Vec<&Value> {
    log.iter().filter(|line| line["target"] == "tagwarden::audit").collect()
}

#[tokio::test(start_paused = true)]
async fn every_line_about_a_message_has_its_ids() {
    let world = World::new();
    world.sim.set_faults(FaultRule::on("Publish").first(4).error("InternalError"));
    let digest = world.violating(&["1.0"]);
    let log = log_of(&world).await;
    let assessed = log.iter().find(|line| line["message"] == "assessed").unwrap();
    let ours = |line: &&Value| line["target"].as_str().unwrap().starts_with("tagwarden");
    let own: Vec<_> = log
        .iter()
        .filter(|line| line["message_id"] == assessed["message_id"])
        .filter(ours)
        .collect();
    let messages: Vec<_> = own.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let expected = ["plan", "recorded", "notice", "cannot notify yet", "notified", "assessed"];
    assert_eq!(messages, expected);
    for line in own {
        assert_eq!(line["digest"], digest, "{line}");
        assert_eq!(line["repository"], "team/app", "{line}");
        assert_eq!(
            (&line["account"], &line["region"]),
            (&json!("111122223333"), &json!("eu-west-1"))
        );
        assert_eq!(line["event_id"], assessed["event_id"], "{line}");
    }
    assert!(assessed["duration_ms"].is_u64(), "{assessed}");
    assert_eq!(assessed["outcome"], "quarantined");
    assert_eq!(assessed["disposition"], "delete");
}

#[tokio::test(start_paused = true)]
async fn every_change_is_recorded_before_and_after() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod-*");
    let digest = world.violating(&["1.0", "prod-7"]);
    let log = log_of(&world).await;
    let quarantine = digest.replace("sha256:", "quarantine-");
    let [plan, recorded, notice] = audit(&log)[..] else { panic!("{log:#?}") };
    assert_eq!(plan["message"], "plan");
    assert_eq!(
        (&recorded["message"], &recorded["kind"]),
        (&json!("recorded"), &json!("quarantine"))
    );
    assert_eq!((&plan["untag"], &plan["kept"]), (&json!("1.0"), &json!("prod-7")));
    assert_eq!((&plan["mode"], &plan["quarantine"]), (&json!("enforce"), &json!(quarantine)));
    assert_eq!(notice["message"], "notice");
    assert_eq!(notice["action"], "quarantined");
    assert_eq!((&notice["untagged"], &notice["kept"]), (&json!("1.0"), &json!("prod-7")));
    let notified: Value =
        serde_json::from_str(&world.sim.notices(&world.topic)[0].message).unwrap();
    assert_eq!(notice["notice_id"], notified["id"]);
}

#[tokio::test(start_paused = true)]
async fn every_decision_not_to_act_is_recorded() {
    let critical = || ScanResult::basic(&[("CRITICAL", 1)]);
    let recorded = |log: &[Value]| -> Vec<String> {
        let word = |line: &&Value| {
            let action = line["action"].as_str().map(|action| format!(" {action}"));
            format!("{}{}", line["message"].as_str().unwrap(), action.unwrap_or_default())
        };
        audit(log).iter().map(word).collect()
    };
    let audited = World::new().set("POLICY__MODE", "audit");
    audited.violating(&["1.0"]);
    assert_eq!(recorded(&log_of(&audited).await), ["plan", "notice would_untag"]);

    let protected = World::new().set("POLICY__PROTECTED_TAGS", "*");
    protected.violating(&["1.0"]);
    assert_eq!(recorded(&log_of(&protected).await), ["notice blocked"]);

    let few = World::new().set("POLICY__KEEP_AT_LEAST", "1");
    few.violating(&["1.0"]);
    assert_eq!(recorded(&log_of(&few).await), ["notice blocked"]);

    let elsewhere = World::new().set("POLICY__REPOSITORIES__EXCLUDE", "team/*");
    elsewhere.violating(&["1.0"]);
    assert_eq!(recorded(&log_of(&elsewhere).await), ["out of reach"]);

    let limited = World::new().set("LIMITS__UNTAGS_PER_HOUR", "1");
    for tag in ["1.0", "2.0", "3.0"] {
        limited.violating(&[tag]);
    }
    let records = recorded(&log_of(&limited).await);
    let count = |record: &str| records.iter().filter(|one| *one == record).count();
    let notified = [count("notice quarantined"), count("put off"), count("notice blocked")];
    assert_eq!(notified, [3, 2, 1], "each refusal, with one notice in an hour: {records:?}");

    let deleted = World::new().set("POLICY__ACTION", "delete");
    deleted.violating(&["1.0"]);
    assert_eq!(
        recorded(&log_of(&deleted).await),
        ["plan", "recorded", "notice deleted", "image deleted"]
    );

    let refused = World::new();
    let digest = refused.image(&["1.0"], critical());
    refused.sim.set_faults(FaultRule::on("PutImage").error("LimitExceededException"));
    refused.scanned(&digest);
    assert_eq!(recorded(&log_of(&refused).await), ["plan", "notice blocked"]);
    assert_eq!(refused.sim.queue(QUEUE).messages, []);
}

#[tokio::test(start_paused = true)]
async fn start_of_pacing_is_logged_once_with_its_operation_and_place() {
    let world = World::new();
    world.sim.set_faults(FaultRule::on("PutImage").first(3).error("ThrottlingException"));
    world.violating(&["1.0"]);
    world.violating(&["2.0"]);
    let log = log_of(&world).await;
    let paced: Vec<_> = log.iter().filter(|line| line["calls_per_second"].is_number()).collect();
    let [began] = paced[..] else { panic!("{paced:#?}") };
    assert_eq!(began["level"], "WARN");
    let expected = "AWS throttles this operation: its calls are paced from now on";
    assert_eq!(began["message"], expected);
    let place = [&began["operation"], &began["account"], &began["region"]];
    assert_eq!(place, ["PutImage", "111122223333", "eu-west-1"]);
    assert_eq!(began["calls_per_second"], 5.0);
}
