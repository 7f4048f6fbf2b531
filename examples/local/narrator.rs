//! Prints what happens, as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use aws_sim::{Call, CallOutcome, Sim};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::bus::{Finding, News, Scan, TaggedImage, short};
use crate::log::{Assessment, Line, Plan, Request};
use crate::page::{print, quote, say};
use crate::stage::{DEAD_LETTERS, MAX_RECEIVE_COUNT, TEAM, platform_of, record_of, wait_of};

/// After how long without news the messages that needed nothing are summed up, where no scene ends.
const QUIET: Duration = Duration::from_secs(2);

/// What was seen so far, for the table at the end.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Every tag that was ever put on an image, in this order.
    pub(crate) tags: Vec<TaggedImage>,
    /// The tags that were taken off their images.
    untagged: Vec<TaggedImage>,
    /// Those of them that were put back on the same images.
    given_back: Vec<TaggedImage>,
    /// The scans that have ended, by digest.
    pub(crate) scans: BTreeMap<String, Scan>,
    /// The findings that became known by themselves, by digest.
    pub(crate) findings: BTreeMap<String, Vec<Finding>>,
    /// The plans of the worker.
    pub(crate) plans: Vec<Plan>,
    /// The images that the worker has found clean.
    pub(crate) clean: BTreeSet<String>,
    /// What else came of an image, by digest.
    pub(crate) others: BTreeMap<String, String>,
}

impl Sightings {
    /// Whether a tag was taken off its image and put back on it.
    pub(crate) fn is_given_back(&self, image: &TaggedImage) -> bool {
        self.given_back.iter().any(|back| back.is_same(image))
    }

    fn pushed(&mut self, image: TaggedImage) {
        if self.untagged.iter().any(|off| off.is_same(&image)) {
            self.given_back.push(image.clone());
        }
        if !image.tag.is_empty() {
            self.tags.push(image);
        }
    }
}

/// Follows the simulation and the worker's log.
pub(crate) struct Narrator {
    sim: Sim,
    /// Whether it prints what happens, or only remembers it.
    aloud: bool,
    log: UnboundedReceiver<Line>,
    done: Vec<Assessment>,
    /// Messages that needed nothing and are not told yet: how many of each sort.
    beside: BTreeMap<&'static str, usize>,
    sightings: Sightings,
    /// How messages are called that have a name of their own, by id.
    names: BTreeMap<String, String>,
    /// How many events of the bus were told.
    events: usize,
    /// The calls to untag whose refusals were told.
    calls: BTreeSet<usize>,
    /// The messages of the team's queue that were told.
    notices: BTreeSet<String>,
    /// The actions of the notices that were printed whole.
    actions: BTreeSet<String>,
}

impl Narrator {
    /// A narrator that has told nothing yet.
    pub(crate) fn new(sim: &Sim, log: UnboundedReceiver<Line>, aloud: bool) -> Self {
        Self {
            sim: sim.clone(),
            aloud,
            log,
            done: Vec::new(),
            beside: BTreeMap::new(),
            sightings: Sightings::default(),
            names: BTreeMap::new(),
            events: 0,
            calls: BTreeSet::new(),
            notices: BTreeSet::new(),
            actions: BTreeSet::new(),
        }
    }

    /// Prints what happens from now on.
    pub(crate) fn speak(&mut self) {
        self.aloud = true;
    }

    /// Whether it prints what happens.
    pub(crate) fn is_aloud(&self) -> bool {
        self.aloud
    }

    /// Prints the title of what follows.
    pub(crate) fn title(&self, title: impl Display) {
        if self.aloud {
            print(format_args!("\n{title}"));
        }
    }

    fn say(&self, act: &str, what: impl Display) {
        if self.aloud {
            say(act, what);
        }
    }

    /// Gives a message a name.
    pub(crate) fn name(&mut self, message_id: &str, name: &str) {
        self.names.insert(message_id.to_owned(), name.to_owned());
    }

    /// Every assessment so far.
    pub(crate) fn assessments(&self) -> &[Assessment] {
        &self.done
    }

    /// What was seen so far.
    pub(crate) fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// How many notices the team has received.
    pub(crate) fn notices(&self) -> usize {
        self.notices.len()
    }

    /// Tells what happens until a condition on the simulation and the assessments so far is true.
    pub(crate) async fn follow(&mut self, until: impl Fn(&Sim, &[Assessment]) -> bool) {
        loop {
            self.catch_up();
            if until(&self.sim, &self.done) {
                return;
            }
            let (sim, done, told) = (&self.sim, &self.done, self.events);
            tokio::select! {
                biased;
                Some(line) = self.log.recv() => self.logged(line),
                () = sim.wait_until(|sim| sim.events().len() > told || until(sim, done)) => {}
            }
        }
    }

    /// Tells what happens, and sums up whenever it is quiet, for ever.
    pub(crate) async fn go_on(&mut self) {
        loop {
            let told = self.done.len();
            let news = self.follow(|_, assessments| assessments.len() > told);
            if timeout(QUIET, news).await.is_err() {
                self.sum_up();
            }
        }
    }

    /// Tells of the messages that needed nothing since the last time.
    pub(crate) fn sum_up(&mut self) {
        let sorts = std::mem::take(&mut self.beside);
        let sorts: Vec<_> = sorts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
        if !sorts.is_empty() {
            self.say("also", format!("messages deleted: {}", sorts.join(", ")));
        }
    }

    /// Tells what is new on the bus, in refusals and in the team's queue.
    pub(crate) fn catch_up(&mut self) {
        for event in self.sim.events().iter().skip(self.events) {
            self.events += 1;
            if let Some(news) = News::of(event) {
                self.reported(news);
            }
        }
        for call in self.sim.calls_of("BatchDeleteImage") {
            if call.outcome != CallOutcome::Unanswered && self.calls.insert(call.seq) {
                self.tell_refusals(&call);
            }
        }
        for message in self.sim.queue(TEAM).messages {
            if self.notices.insert(message.id) {
                self.tell_notice(&message.body);
            }
        }
    }

    fn reported(&mut self, news: News) {
        match news {
            News::Pushed(image) => {
                self.sightings.pushed(image.clone());
                if image.is_mark() {
                    self.say("mark", reference(&image.repository, &image.tag));
                } else if self.sightings.is_given_back(&image) {
                    self.say("back", on_image(&image, "on image"));
                } else {
                    self.say("push", on_image(&image, image.kind()));
                }
            }
            News::Recorded(record) => {
                let of = record_of(&self.sim, &record.digest);
                let of = of.map(|of| format!("{} on image {}", of.kind, short(&of.subject)));
                self.say("record", of.unwrap_or_else(|| short(&record.digest).to_owned()));
            }
            News::Untagged(image) => {
                self.say("untag", on_image(&image, "off image"));
                self.sightings.untagged.push(image);
            }
            News::Scanned(scan) => {
                self.say(
                    "scan",
                    format!("image {}: {}", short(&scan.image_digest), scan.findings()),
                );
                self.sightings.scans.insert(scan.image_digest.clone(), scan);
            }
            News::Found(finding) => {
                self.say("find", finding.in_words());
                let known = self.sightings.findings.entry(finding.image_digest.clone());
                known.or_default().push(finding);
            }
        }
    }

    fn logged(&mut self, line: Line) {
        // The channel is looked at first, but what has happened before the line is told before it.
        self.catch_up();
        match line {
            Line::Plan(plan) => {
                self.tell_plan(&plan);
                self.sightings.plans.push(plan);
            }
            Line::Request(request) => self.tell_request(&request),
            Line::Assessed(assessment) => {
                match assessment.beside() {
                    Some(sort) if !self.names.contains_key(&assessment.message_id) => {
                        *self.beside.entry(sort).or_default() += 1;
                    }
                    _ => self.tell_assessment(&assessment),
                }
                if let Some(digest) = assessment.digest.clone() {
                    if assessment.outcome == "clean" {
                        self.sightings.clean.insert(digest);
                    } else if assessment.beside().is_none() {
                        self.sightings.others.insert(digest, assessment.in_words());
                    }
                }
                self.done.push(assessment);
            }
        }
    }

    /// The image that a message turned out to be about, and the index by which something was done about it.
    fn image_of(&self, assessment: &Assessment) -> Option<String> {
        let image = assessment.digest.as_deref()?;
        let index = self.sightings.plans.iter().rev().find(|plan| {
            plan.message_id == assessment.message_id && plan.cause.as_deref() == Some(image)
        });
        let index = index.map(|plan| format!(" in index {}", short(&plan.digest)));
        Some(format!("image {}{}", short(image), index.unwrap_or_default()))
    }

    fn tell_assessment(&self, assessment: &Assessment) {
        let name = self.names.get(&assessment.message_id).cloned();
        let name = name.or_else(|| self.image_of(assessment));
        let name = name.unwrap_or_else(|| "message".to_owned());
        let what = assessment.in_words();
        let then = match assessment.disposition.as_str() {
            "delete" => "message deleted".to_owned(),
            "release" => "message released".to_owned(),
            "redrive" if assessment.receive_count >= u64::from(MAX_RECEIVE_COUNT) => {
                format!("that was its last receive, so it goes to {DEAD_LETTERS}")
            }
            _ => {
                let left = wait_of(&self.sim, &assessment.message_id);
                format!("message comes again in {}", humantime::format_duration(left))
            }
        };
        self.say("settle", format!("{name}: {what}; {then}"));
    }

    fn tell_plan(&self, plan: &Plan) {
        let Plan { untag, kept, cause, reasons, .. } = plan;
        let kept = if kept.is_empty() { String::new() } else { format!(", keep {kept}") };
        let cause = cause.as_deref().map(|digest| {
            let platform =
                platform_of(&self.sim, digest).unwrap_or_else(|| "one of its images".to_owned());
            format!("of {platform}, image {}: ", short(digest))
        });
        self.say(
            "decide",
            format!("untag {untag}{kept}, because {}{reasons}", cause.unwrap_or_default()),
        );
    }

    /// What the registry did not untag: a tag that has moved to another image meanwhile stays where it is.
    fn tell_refusals(&self, call: &Call) {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let failures = call.reply.as_ref().and_then(|reply| reply.get("failures"));
        for failure in failures.and_then(Value::as_array).into_iter().flatten() {
            let code = text(failure, "/failureCode");
            let why = match code.as_str() {
                "ImageTagDoesNotMatchDigest" => "it is on another image by now",
                _ => "the registry refuses",
            };
            let name = reference(
                &text(&call.request, "/repositoryName"),
                &text(failure, "/imageId/imageTag"),
            );
            self.say("leave", format!("{name} {why} ({code})"));
        }
    }

    /// What somebody asks for, or why it is refused.
    fn tell_request(&self, request: &Request) {
        let who = match request.sender.split_once(':') {
            Some((id, session)) => format!("{session} ({id})"),
            None => request.sender.clone(),
        };
        let act = if request.is_refused() { "refuse" } else { "ask" };
        if let Some(what) = request.in_words() {
            self.say(act, format!("{who}: {what}"));
        }
    }

    /// A notice as it came to the team's queue: the first one of its action whole, of the others the subject.
    fn tell_notice(&mut self, body: &str) {
        let envelope: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |pointer: &str| envelope.pointer(pointer).and_then(Value::as_str);
        self.say("tell", format!("\"{}\"", text("/Subject").unwrap_or_default()));
        let action = text("/MessageAttributes/action/Value").unwrap_or_default();
        if self.aloud && self.actions.insert(action.to_owned()) {
            quote(text("/Message").unwrap_or_default());
        }
    }
}

/// A tag, and what it has to do with which image.
fn on_image(image: &TaggedImage, how: &str) -> String {
    format!("{} {how} {}", reference(&image.repository, &image.tag), short(&image.digest))
}

/// A tag as one refers to it, in a column of its own.
fn reference(repository: &str, tag: &str) -> String {
    let separator = if tag.is_empty() { "" } else { ":" };
    format!("{:<18}", format!("{repository}{separator}{tag}"))
}
