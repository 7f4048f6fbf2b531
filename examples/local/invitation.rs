//! How to go on from another terminal: lines to copy into a shell there.

use aws_sim::manifest;

use crate::bus::TaggedImage;
use crate::delivery::example;
use crate::narrator::Sightings;
use crate::page::{Fate, WIDTH};
use crate::stage::Stage;
use crate::table;
use crate::worker::{Worker, second_worker};

/// The image that docs/why-did-my-tag-vanish.md is about too.
const FAVOURITE: (&str, &str) = ("team/shop", "3.0.0");

/// What a line of a JSON document begins with, behind its first.
const MARGIN: &str = "   ";

/// What there is to type, and what it is good for.
pub(crate) fn invitation(stage: &Stage, worker: &Worker, sightings: &Sightings) -> String {
    let exports = worker.exports();
    let second = second_worker();
    let (name, address) = (&stage.repository.name, worker.address());
    let restore = removed(stage, sightings).map(restore).unwrap_or_default();
    let image = manifest::annotated_image("try", &[("aws-sim.findings", "CRITICAL=1")]);
    let image = folded(&image);
    let event = example("1.0.0");
    format!(
        "
Staying up until Ctrl-C. In a second terminal, in this directory, first:

{exports}
cargo run -- --version
tagwarden() {{ cargo run --quiet -- \"$@\"; }}
{restore}
# What it may do here, and what it would do
tagwarden check --live
tagwarden plan
tagwarden explain team/app:prod-eu

# A second worker on the queue. Its role and its key are not yours.
{second}

# Push an image in which a scan finds what the annotation says, and look back
# here. For another image, change a digit.
aws ecr put-image --repository-name {name} --image-tag try --image-manifest \\
  '{image}'

# Put an event on the queue (version 1 of the AWS command line heeds the
# variable for every service but SQS)
aws sqs send-message --endpoint-url $AWS_ENDPOINT_URL \\
  --queue-url $TAGWARDEN__QUEUE__URL --message-body \\
  '{event}'

The worker's own pages: http://{address}/metrics and /readyz

From here on:"
    )
}

/// The lines about giving a tag back.
fn restore(image: &TaggedImage) -> String {
    let image = format!("{}:{}", image.repository, image.tag);
    format!(
        "
# What is in quarantine, and why; then give a tag back and hold it for a day.
# Typed again, the last command moves no tag: it only renews the hold.
tagwarden list
tagwarden explain {image}
tagwarden restore {image} --until 1d \\
  --reason \"prod is down\" --owner you@example.com
"
    )
}

/// A tag that the worker has removed, and whose image is still there.
fn removed<'a>(stage: &Stage, sightings: &'a Sightings) -> Option<&'a TaggedImage> {
    let is_removed = |image: &&TaggedImage| {
        let repository = stage.repository(&image.repository);
        table::after(stage, sightings, image).fate == Fate::Untagged
            && stage.sim.tags(&repository, &image.digest).is_some()
    };
    let mut removed = sightings.tags.iter().filter(is_removed);
    let first = removed.clone().next();
    removed.find(|image| (image.repository.as_str(), image.tag.as_str()) == FAVOURITE).or(first)
}

/// A JSON document in lines that fit the page, broken behind the commas and names of its members.
fn folded(document: &str) -> String {
    let apart = document.replace(',', ",\n").replace("\":", "\":\n");
    let mut text = String::new();
    let mut width = MARGIN.len();
    for part in apart.lines() {
        if width + part.len() > WIDTH {
            text.push('\n');
            text.push_str(MARGIN);
            width = MARGIN.len();
        }
        text.push_str(part);
        width += part.len();
    }
    text
}
