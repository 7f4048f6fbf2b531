//! Events from a file or standard input: read, sent as they are, and followed to their end.

use std::path::Path;
use std::{fs, io};

use aws_sim::Sim;
use serde_json::Value;
use serde_json::value::RawValue;
use tagwarden::domain::text::escaped;
use tokio::time::timeout;

use crate::bus::short;
use crate::log::{Assessment, Plan};
use crate::narrator::Narrator;
use crate::page::{Fate, note, print, row};
use crate::stage::{DEAD_LETTERS, PATIENCE, QUEUE, Stage, is_dead, is_scanned, wait_of};
use crate::{Error, seed, story, table};

/// A scan event as short as the worker takes it. Without a digest, it is about the image that the tag points to.
pub(crate) fn example(tag: &str) -> String {
    format!(
        r#"{{"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail":
  {{"scan-status": "COMPLETE", "repository-name": "team/app",
   "image-tags": ["{tag}"]}}}}"#
    )
}

/// What `--help` says at its end.
pub(crate) fn help() -> String {
    format!(
        "\
Events of your own: FILE holds JSON documents one after the other, an array of them, or any lines
of text. An image that an event names by its digest is made, with the findings that the event
counts. An event without a digest is about the image that its tag points to:

  cargo run --example local -- --events - <<'END'
  {}
  END",
        example("1.2.0")
    )
}

/// The bodies of the messages to send.
pub(crate) fn read(path: &Path) -> Result<Vec<String>, Error> {
    let (text, from) = if path == Path::new("-") {
        (io::read_to_string(io::stdin()), "standard input".to_owned())
    } else {
        (fs::read_to_string(path), path.display().to_string())
    };
    let text = text.map_err(|error| format!("cannot read events from {from}: {error}"))?;
    let bodies = split(&text).unwrap_or_else(|_| lines(&text));
    if bodies.is_empty() {
        return Err(format!("no events in {from}").into());
    }
    Ok(bodies)
}

/// JSON documents one after the other; of an array, its elements.
fn split(text: &str) -> serde_json::Result<Vec<String>> {
    let mut bodies = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let document = document?.get();
        if document.starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(document)?;
            bodies.extend(elements.into_iter().map(|element| element.get().to_owned()));
        } else {
            bodies.push(document.to_owned());
        }
    }
    Ok(bodies)
}

/// Where the text as a whole is not JSON, each line is a message, whatever it is.
fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// A message that was sent.
struct Sent {
    id: String,
    event: String,
}

/// Pushes the story's images, sends one message after the other, and follows each until it is gone or waits.
pub(crate) async fn deliver(
    stage: &Stage,
    narrator: &mut Narrator,
    bodies: &[String],
) -> Result<(), Error> {
    narrator
        .title("The images; their own events are not sent to the queue, so that yours come first");
    let images = story::push_all(stage);
    let remarks = seed::plant(stage, bodies);
    follow(narrator, |sim, _| images.iter().all(|image| is_scanned(sim, image))).await?;
    stage.connect();
    for remark in &remarks {
        note(remark);
    }

    let mut sent = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let (number, event) = (index + 1, describe(body));
        narrator.title(format_args!("Event {number} of {}: {event}", bodies.len()));
        let id = stage.sim.send(QUEUE, body);
        narrator.name(&id, &format!("event {number}"));
        follow(narrator, |_, assessments| last(assessments, &id).is_some()).await?;
        sent.push(Sent { id, event });
    }
    await_dead_letters(narrator, &sent).await?;
    narrator.sum_up();

    let numbered = (1..).zip(bodies).zip(&sent);
    let became = numbered.filter_map(|((number, body), Sent { id, event })| {
        let assessment = last(narrator.assessments(), id)?;
        Some((number, body, event, assessment, fate(&stage.sim, assessment)))
    });
    if narrator.is_aloud() {
        let rows = became.map(|(number, _, event, assessment, fate): (usize, _, _, _, _)| {
            [number.to_string(), event.clone(), fate, assessment.in_words()]
        });
        let table = table::events(rows.collect());
        print(format_args!("\nThe events, and what became of their messages:\n\n{table}"));
        return Ok(());
    }
    print("");
    for (number, body, event, assessment, fate) in became {
        let what = match (assessment.disposition.as_str(), assessment.outcome.as_str()) {
            ("delete", "quarantined" | "deleted") => Fate::Untagged,
            ("delete", "would_untag") => Fate::WouldUntag,
            ("delete", _) => Fate::Kept,
            _ => Fate::Failed,
        };
        let mut plans = narrator.sightings().plans.iter();
        let plan = plans.rfind(|plan| plan.message_id == assessment.message_id);
        let why = match plan {
            Some(Plan { untag, kept, .. }) if kept.is_empty() => format!("untagged {untag}"),
            Some(Plan { untag, kept, .. }) => format!("untagged {untag}, kept {kept}"),
            None => assessment.in_words(),
        };
        let why = if assessment.is_deleted() { why } else { format!("{fate}: {why}") };
        let image = seed::image_of(stage, body).unwrap_or_else(|| event.clone());
        row(what, &format!("{number:>3} {image}"), &why, Some(assessment.duration_ms));
    }
    Ok(())
}

/// What no retry will mend has its receives within seconds; anything else that waits is left waiting.
async fn await_dead_letters(narrator: &mut Narrator, sent: &[Sent]) -> Result<(), Error> {
    let is_doomed = |assessment: &Assessment| assessment.disposition == "redrive";
    let doomed: Vec<_> = sent
        .iter()
        .map(|sent| sent.id.as_str())
        .filter(|id| last(narrator.assessments(), id).is_some_and(is_doomed))
        .collect();
    if doomed.is_empty() {
        return Ok(());
    }
    narrator.title(format_args!("What cannot be understood, on its way to {DEAD_LETTERS}"));
    follow(narrator, |sim, _| doomed.iter().all(|id| is_dead(sim, id))).await
}

async fn follow(
    narrator: &mut Narrator,
    until: impl Fn(&Sim, &[Assessment]) -> bool,
) -> Result<(), Error> {
    timeout(PATIENCE, narrator.follow(until))
        .await
        .map_err(|_| format!("not every message is settled within {} s", PATIENCE.as_secs()).into())
}

/// The last assessment that a message led to.
fn last<'a>(assessments: &'a [Assessment], id: &str) -> Option<&'a Assessment> {
    assessments.iter().rev().find(|assessment| assessment.message_id == id)
}

/// What became of the message that was assessed.
fn fate(sim: &Sim, assessment: &Assessment) -> String {
    let id = &assessment.message_id;
    match assessment.disposition.as_str() {
        "delete" => "deleted".to_owned(),
        "redrive" if is_dead(sim, id) => format!("in {DEAD_LETTERS}"),
        _ => format!("waits for {}", humantime::format_duration(wait_of(sim, id))),
    }
}

/// What a body looks like from outside.
fn describe(body: &str) -> String {
    let event: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let Some(kind) = text("/detail-type") else {
        let start: String = body.chars().filter(|c| !c.is_control()).take(40).collect();
        return escaped(&format!("no event ({start})"), &[]).into_owned();
    };
    let tags: Vec<_> = event
        .pointer("/detail/image-tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let image = match (text("/detail/image-digest"), tags.as_slice()) {
        (_, [tag]) => format!(":{tag}"),
        (_, [tag, rest @ ..]) => format!(":{tag} and {} more", rest.len()),
        (Some(digest), []) => format!(" image {}", short(digest)),
        (None, []) => String::new(),
    };
    // Inspector writes the repository's whole ARN.
    let name = |full: &str| full.rsplit(":repository/").next().map(str::to_owned);
    match text("/detail/repository-name").and_then(name) {
        Some(repository) => escaped(&format!("{kind}, {repository}{image}"), &[]).into_owned(),
        None => escaped(kind, &[]).into_owned(),
    }
}
