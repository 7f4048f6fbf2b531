//! The messages of a seed: correct ones, wrong ones, duplicates, poison.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::scene::{Image, Scene};

/// The duty that a message causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Assess this image: a repository and a digest.
    Assess(Image),
    /// Assess the images that these tags point to when the message is processed.
    Resolve(Image),
    /// None: the message is not for us, out of scope, or about something that does not exist.
    None,
    /// The message is malformed.
    Poison,
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Planned {
    pub at: Duration,
    pub body: String,
    pub duty: Duty,
}

/// About a hundred messages over the first ten minutes.
pub fn plan(scene: &Scene, rng: &mut Rng) -> Vec<Planned> {
    let images: Vec<_> = scene.images.values().collect();
    let mut planned = Vec::new();
    for number in 0..rng.usize(60..90) {
        let at = Duration::from_millis(rng.u64(..600_000));
        let image = images[rng.usize(..images.len())];
        let (body, duty) = match rng.u8(..100) {
            0..=4 => (poison(rng, number), Duty::Poison),
            5..=7 => (not_for_us(image, number), Duty::None),
            8..=10 => (of_nothing(image, number), Duty::None),
            _ => (event(rng, image, number), duty(scene, image, Duty::Assess)),
        };
        planned.push(Planned { at, body, duty });
    }
    for (number, image) in images.iter().enumerate() {
        let number = number + 1_000;
        // When an image turns bad, an event announces it.
        if let Some(from) = image.bad_from.filter(|_| !image.is_index && !image.tags.is_empty()) {
            let at = from + Duration::from_millis(rng.u64(1_000..60_000));
            let digestless = rng.u8(..10) == 0;
            let mut event = scanned(image, &json!({"CRITICAL": 1, "HIGH": 2}), number);
            if digestless {
                event["detail"].as_object_mut().expect("an object").remove("image-digest");
            }
            let duty = duty(scene, image, if digestless { Duty::Resolve } else { Duty::Assess });
            planned.push(Planned { at, body: event.to_string(), duty });
        }
    }
    // One or two sweeps.
    for number in 0..rng.usize(1..3) {
        let at = Duration::from_millis(rng.u64(..600_000));
        planned.push(Planned { at, body: sweep(rng, number), duty: Duty::None });
    }
    let copies: Vec<_> = planned.iter().filter(|_| rng.u8(..10) == 0).cloned().collect();
    planned.extend(
        copies
            .into_iter()
            .map(|copy| Planned { at: copy.at + Duration::from_millis(rng.u64(..90_000)), ..copy }),
    );
    planned.sort_by_key(|planned| planned.at);
    planned
}

/// Messages that arrive all at once, most often about the images of one repository, so that many of
/// them have to wait for their turn.
pub fn burst(scene: &Scene, rng: &mut Rng, at: Duration, which: usize) -> Vec<Planned> {
    let covered = scene.repositories.iter().filter(|one| !scene.out_of_reach.contains(one));
    let covered: Vec<_> = covered.collect();
    let one = covered[rng.usize(..covered.len())];
    let is_mixed = rng.u8(..4) == 0;
    let images = scene.images.values().filter(|image| is_mixed || image.repository == *one);
    let images: Vec<_> = images.collect();
    let count = rng.usize(5..60);
    let event = |number| {
        let image = images[rng.usize(..images.len())];
        let body = scanned(image, &Value::Null, 2_000 + 100 * which + number).to_string();
        Planned { at, body, duty: duty(scene, image, Duty::Assess) }
    };
    (0..count).map(event).collect()
}

fn duty(scene: &Scene, image: &Image, duty: fn(Image) -> Duty) -> Duty {
    if scene.out_of_reach.contains(&image.repository) { Duty::None } else { duty(image.clone()) }
}

/// An event about an image. Its claim may be wrong.
fn event(rng: &mut Rng, image: &Image, number: usize) -> String {
    let event = match rng.u8(..10) {
        0..=3 => scanned(image, &Value::Null, number),
        // The event lies about a clean image: the worker must not act on the event alone.
        4..=6 => scanned(image, &json!({"CRITICAL": 3}), number),
        7 => {
            pushed(image, &image.tags.first().cloned().unwrap_or_else(|| "gone".to_owned()), number)
        }
        _ => inspector(image, number),
    };
    match rng.u8(..8) {
        0 => json!({
            "Type": "Notification",
            "MessageId": format!("sns-{number}"),
            "TopicArn": "arn:aws:sns:eu-west-1:111122223333:events",
            "Message": event.to_string(),
        })
        .to_string(),
        _ => event.to_string(),
    }
}

fn envelope(image: &Image, source: &str, kind: &str, number: usize, detail: Value) -> Value {
    json!({
        "version": "0",
        "id": format!("event-{number}"),
        "detail-type": kind,
        "source": source,
        "account": image.repository.account,
        "time": "2026-01-02T03:04:05Z",
        "region": image.repository.region,
        "resources": [image.repository.arn()],
        "detail": detail,
    })
}

fn scanned(image: &Image, counts: &Value, number: usize) -> Value {
    let detail = json!({
        "scan-status": "COMPLETE",
        "repository-name": image.repository.name,
        "image-digest": image.digest,
        "image-tags": image.tags,
        "finding-severity-counts": counts,
    });
    envelope(image, "aws.ecr", "ECR Image Scan", number, detail)
}

fn inspector(image: &Image, number: usize) -> Value {
    let detail = json!({
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": image.repository.arn(),
        "image-digest": image.digest,
        "image-tags": image.tags,
        "finding-severity-counts": {"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1},
        "version": "1.0",
    });
    envelope(image, "aws.inspector2", "Inspector2 Scan", number, detail)
}

/// The event of a pushed tag.
pub fn pushed(image: &Image, tag: &str, number: usize) -> Value {
    let detail = json!({
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": image.repository.name,
        "image-digest": image.digest,
        "image-tag": tag,
    });
    envelope(image, "aws.ecr", "ECR Image Action", number, detail)
}

fn poison(rng: &mut Rng, number: usize) -> String {
    match rng.u8(..4) {
        0 => format!("poison {number}"),
        1 => json!({"source": number, "detail-type": "ECR Image Scan"}).to_string(),
        2 => {
            json!({"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail": []}).to_string()
        }
        _ => "{".repeat(number + 1),
    }
}

/// The message of a schedule, in one of its shapes.
fn sweep(rng: &mut Rng, number: usize) -> String {
    let (source, detail_type, detail) = match rng.u8(..3) {
        0 => ("aws.scheduler", "Scheduled Event", json!("{}")),
        1 => ("tagwarden", "Sweep Registry", json!("{}")),
        _ => ("tagwarden", "Sweep Registry", json!({})),
    };
    let id = format!("sweep-{number}");
    let mut event =
        json!({"id": id, "source": source, "detail-type": detail_type, "detail": detail});
    // With a time, a message that is delivered twice starts the same sweep. Some sweeps began long
    // before the worker existed.
    let time = ["2026-01-01T00:00:00Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"];
    if let Some(time) = time.get(rng.usize(..4)) {
        event["time"] = json!(time);
    }
    event.to_string()
}

fn not_for_us(image: &Image, number: usize) -> String {
    envelope(image, "aws.ec2", "EC2 Instance State-change Notification", number, json!({}))
        .to_string()
}

/// An event about an image that does not exist, or in a repository that does not exist.
fn of_nothing(image: &Image, number: usize) -> String {
    let mut image = image.clone();
    if number.is_multiple_of(2) {
        image.digest = format!("sha256:{number:064x}");
    } else {
        image.repository.name = "team/never-made".to_owned();
    }
    scanned(&image, &Value::Null, number).to_string()
}
