//! The log at level `info` of a worker that receives such events.

use std::io;
use std::sync::{Arc, Mutex};

use aws_sim::{ApiError, Fault, FaultRule};
use serde_json::{Value, json};
use tagwarden::domain::names::{AccountId, Region, RegistryId};
use tagwarden::event;
use tagwarden::telemetry::logs::{LogFormat, subscriber};
use tracing_subscriber::EnvFilter;

use super::texts::{events_with, families, places, texts_in_bulk, unseen, with};
use crate::worker::{ACCOUNT, QUEUE, REGION, World};

const MARKER: &str = "MARKER-7f3a-of-the-tests";

/// The captured log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Logs what happens in this thread until the guard is dropped.
    pub(crate) fn of_this_thread(format: LogFormat) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let all = subscriber(format, EnvFilter::new("info"), move || writer.clone(), false);
        (log, tracing::subscriber::set_default(all))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8")
    }

    /// Every line is ours, and nothing in it is more than plain text.
    pub(crate) fn check(&self, format: LogFormat) -> Vec<String> {
        let text = self.text();
        assert_eq!(unseen(&text, &['\n']), None);
        let lines: Vec<_> = text.split_terminator('\n').map(str::to_owned).collect();
        for line in &lines {
            match format {
                LogFormat::Json => {
                    let line: Value = serde_json::from_str(line).expect(line);
                    assert!(line["message"].is_string() && line["target"].is_string(), "{line}");
                }
                LogFormat::Pretty => {
                    let (time, rest) = line.split_once(' ').expect(line);
                    assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
                    let levels = [" INFO ", " WARN ", "ERROR "].map(|level| level.trim_start());
                    let rest = rest.trim_start();
                    assert!(levels.iter().any(|level| rest.starts_with(level)), "{line}");
                }
            }
        }
        lines
    }
}

/// The log of a worker that receives these bodies, until all of them are settled.
async fn log_of(world: &World, format: LogFormat, bodies: &[String]) -> (Log, Vec<String>) {
    let (log, guard) = Log::of_this_thread(format);
    for body in bodies {
        world.sim.send(QUEUE, body);
    }
    world.run_to_the_end().await;
    drop(guard);
    let lines = log.check(format);
    (log, lines)
}

#[tokio::test(start_paused = true)]
async fn log_line_stays_one_line_for_any_event() {
    let texts = texts_in_bulk();
    let events = texts.iter().flat_map(|text| {
        // One message of 200 KB is enough here.
        events_with(text).into_iter().step_by(if text.len() > 1000 { 10 } else { 1 })
    });
    let bodies: Vec<_> = events.map(|event| event.to_string()).collect();
    for format in [LogFormat::Json, LogFormat::Pretty] {
        let (_, lines) = log_of(&World::new(), format, &bodies).await;
        let assessed = lines.iter().filter(|line| line.contains("assessed")).count();
        assert!(assessed >= bodies.len(), "{assessed} of {}", bodies.len());
        let longest = lines.iter().map(String::len).max().unwrap_or_default();
        assert!(longest < 8192, "a line of {longest} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn log_line_stays_one_line_for_any_aws_answer() {
    for text in texts_in_bulk() {
        for (operation, code) in [
            ("DescribeImages", "ServerException"),
            ("DescribeImages", "InvalidParameterException"),
            ("DescribeImageScanFindings", "AccessDeniedException"),
            ("PutImage", "LimitExceededException"),
            ("DescribePullThroughCacheRules", "AccessDeniedException"),
            ("Publish", "InvalidParameter"),
            ("DeleteMessageBatch", "AccessDenied"),
            ("ReceiveMessage", "InternalError"),
        ] {
            for format in [LogFormat::Json, LogFormat::Pretty] {
                let world = World::new();
                let error = ApiError::new(code, text.clone()).with_status(400);
                world
                    .sim
                    .set_faults(FaultRule::on(operation).first(2).fault(Fault::ErrorBefore(error)));
                world.violating(&["1.0"]);
                let (_, lines) = log_of(&world, format, &[]).await;
                assert!(!lines.is_empty(), "{operation}");
            }
        }
    }
}

/// Bodies that are no event, or do not have the shape of their family. Each contains the marker.
fn malformed() -> Vec<String> {
    let mut bodies = vec![
        MARKER.to_owned(),
        json!(MARKER).to_string(),
        json!([MARKER]).to_string(),
        json!({"title": MARKER}).to_string(),
        json!({MARKER: MARKER}).to_string(),
        json!({"source": {MARKER: 1}, "detail-type": MARKER}).to_string(),
        format!("{{\"source\": \"{MARKER}"),
        format!("{{\"source\": \"{MARKER}\", \"source\": 1}}"),
        format!("{{\"source\": {MARKER}}}"),
    ];
    for family in families() {
        for place in places(&family) {
            for planted in [
                json!(MARKER),
                json!(format!("x\", expected {MARKER} string \"y")),
                json!([MARKER]),
                json!({MARKER: MARKER}),
                json!({"title": {"deep": [MARKER]}}),
            ] {
                bodies.push(with(&family, &place, planted).to_string());
            }
        }
    }
    let wrapped = bodies.iter().map(|body| {
        json!({"Type": "Notification", "TopicArn": MARKER, "Message": body}).to_string()
    });
    let wrapped: Vec<_> = wrapped.collect();
    bodies.extend(wrapped);
    let own = RegistryId {
        account: AccountId::parse(ACCOUNT).unwrap(),
        region: Region::parse(REGION).unwrap(),
    };
    bodies.retain(|body| event::parse(body, &own).is_err());
    bodies
}

#[tokio::test(start_paused = true)]
async fn malformed_body_is_not_logged() {
    let bodies = malformed();
    assert!(bodies.len() > 300, "{}", bodies.len());
    let (log, lines) = log_of(&World::new(), LogFormat::Json, &bodies).await;
    assert!(lines.len() >= bodies.len());
    let quoted: Vec<_> = lines.iter().filter(|line| line.contains(MARKER)).collect();
    assert!(quoted.is_empty(), "{quoted:#?}");
    assert!(!log.text().contains("7f3a"));
}

/// Adds members that the worker does not use to every object of an event.
fn embellished(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (name.clone(), embellished(member)));
            let mut all: serde_json::Map<_, _> = members.collect();
            all.insert("unknown".to_owned(), json!(MARKER));
            all.insert(MARKER.to_owned(), json!([MARKER, {"title": MARKER}]));
            Value::Object(all)
        }
        Value::Array(items) => items.iter().map(embellished).collect(),
        other => other.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn unused_parts_of_a_valid_event_are_not_logged() {
    let mut bodies = Vec::new();
    for family in families() {
        let mut event = family.clone();
        // The counts are a map of severities, in which an unknown severity has a meaning.
        let counts = event["detail"]["finding-severity-counts"].take();
        event = embellished(&event);
        if counts.is_object() {
            event["detail"]["finding-severity-counts"] = counts;
        }
        for member in ["title", "description"] {
            event["detail"][member] = json!(MARKER);
        }
        bodies.push(event.to_string());
    }
    let (_, lines) = log_of(&World::new(), LogFormat::Json, &bodies).await;
    let good = lines.iter().filter(|line| !line.contains("malformed")).count();
    assert!(good >= bodies.len(), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains(MARKER)), "{lines:#?}");
}
