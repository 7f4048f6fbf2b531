//! The worker's log: three sorts of its lines are part of the narrative, and the whole of it is shown on request.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::Error;
use crate::bus::short;

/// A line of the log that is part of the narrative.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// What the worker is about to do, from its audit line.
    Plan(Plan),
    /// What came of a message.
    Assessed(Assessment),
    /// Somebody asked to restore an image.
    Request(Request),
}

/// A request to restore an image, from its audit line.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Who sent it, as the queue names the sender.
    pub(crate) sender: String,
    /// The repository's name.
    pub(crate) repository: String,
    /// The image.
    pub(crate) digest: String,
    /// What the worker is about to do.
    pub(crate) answer: Answer,
}

/// What the worker is about to do about a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It does this.
    Granted {
        /// What, such as to give tags back.
        what: String,
        /// The tags that are to come back; empty for none.
        tags: String,
        /// The end of the hold, if the image is or will be held.
        until: Option<String>,
    },
    /// It does nothing.
    Refused {
        /// Why.
        why: String,
    },
}

/// What the worker is about to do with an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The message that led to it.
    pub(crate) message_id: String,
    /// The image, or the index, whose tags are to go.
    pub(crate) digest: String,
    /// The image in the index that is to blame.
    pub(crate) cause: Option<String>,
    /// The tags that are to go.
    pub(crate) untag: String,
    /// The tags that stay; empty for none.
    pub(crate) kept: String,
    /// Why tags go.
    pub(crate) reasons: String,
}

/// What the worker logs of one assessment.
#[derive(Clone, Debug)]
pub(crate) struct Assessment {
    /// The message that asked for it.
    pub(crate) message_id: String,
    /// The event in it, where it has an id.
    pub(crate) event_id: Option<String>,
    /// The image, where the event names its digest.
    pub(crate) digest: Option<String>,
    /// What happened, in the worker's word.
    pub(crate) outcome: String,
    /// Why, where the word does not tell.
    pub(crate) why: Option<String>,
    /// What becomes of the message: `delete`, `retry`, `redrive` or `release`.
    pub(crate) disposition: String,
    /// How often the message had been received.
    pub(crate) receive_count: u64,
    /// How long it took, in milliseconds.
    pub(crate) duration_ms: u64,
}

impl Request {
    /// Whether the worker does nothing about it.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.answer, Answer::Refused { .. })
    }

    /// What the worker is about to do, or why it does nothing. It only looks a second time if there is no text.
    pub(crate) fn in_words(&self) -> Option<String> {
        let image = format!("{}, image {}", self.repository, short(&self.digest));
        let (what, tags, until) = match &self.answer {
            Answer::Refused { why } => return Some(format!("{image}: {why}")),
            Answer::Granted { what, tags, until } => (what.as_str(), tags, until),
        };
        let until = until.as_ref().map(|until| format!("until {until}")).unwrap_or_default();
        match what {
            "withdraw" => Some(format!("end the hold of {image}")),
            "look again" if tags.is_empty() => None,
            _ if tags.is_empty() => Some(format!("hold {image}, {until}")),
            _ if until.is_empty() => Some(format!("give back {tags} of {image}")),
            _ => Some(format!("give back {tags} of {image}, which is held {until}")),
        }
    }
}

impl Assessment {
    /// Whether the message is done with.
    pub(crate) fn is_deleted(&self) -> bool {
        self.disposition == "delete"
    }

    /// What came of a message that needed nothing of its own: there is one for every push, the worker's own marks too,
    /// and such messages are summed up.
    pub(crate) fn beside(&self) -> Option<&'static str> {
        match (self.outcome.as_str(), self.why.as_deref()) {
            _ if !self.is_deleted() => None,
            ("left_to_scan", _) | ("joined", Some("left_to_scan")) => {
                Some("about a push (left to the scan)")
            }
            ("joined", _) => Some("about an image that was just looked at"),
            ("already_quarantined", _) => Some("about an image that is quarantined already"),
            ("ignored", Some("our own quarantine tag")) => {
                Some("about the worker's own mark (ignored)")
            }
            ("ignored", Some("the artifact is not a container image")) => {
                Some("about a record (ignored)")
            }
            _ => None,
        }
    }

    /// The outcome and why, for people.
    pub(crate) fn in_words(&self) -> String {
        let outcome = self.outcome.replace('_', " ");
        match &self.why {
            // A failure says itself what it is.
            Some(why) if why.starts_with(&outcome) || outcome == "second look" => why.clone(),
            Some(why) => format!("{outcome}: {why}"),
            None => outcome,
        }
    }
}

/// The fields of a line.
#[derive(Default)]
struct Fields {
    texts: BTreeMap<&'static str, String>,
    receive_count: u64,
    duration_ms: u64,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if ["message", "digest", "repository", "sender", "why"].contains(&field.name()) {
            self.texts.insert(field.name(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.insert(field.name(), value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "receive_count" => self.receive_count = value,
            "duration_ms" => self.duration_ms = value,
            _ => {}
        }
    }
}

impl Fields {
    /// The line, if it is one that the narrative needs.
    fn line(mut self) -> Option<Line> {
        let message = self.texts.remove("message")?;
        if ["restore granted", "restore refused"].contains(&message.as_str()) {
            return self.request(&message).map(Line::Request);
        }
        if let Some(outcome) = self.texts.remove("outcome") {
            return Some(Line::Assessed(Assessment {
                message_id: self.texts.remove("message_id")?,
                event_id: self.texts.remove("event_id"),
                digest: self.texts.remove("digest"),
                outcome,
                why: self.texts.remove("why"),
                disposition: self.texts.remove("disposition")?,
                receive_count: self.receive_count,
                duration_ms: self.duration_ms,
            }));
        }
        Some(Line::Plan(Plan {
            message_id: self.texts.remove("message_id")?,
            digest: self.texts.remove("digest")?,
            cause: self.texts.remove("cause"),
            untag: self.texts.remove("untag")?.replace(',', ", "),
            kept: self.texts.remove("kept")?.replace(',', ", "),
            reasons: self.texts.remove("reasons")?,
        }))
    }

    fn request(mut self, message: &str) -> Option<Request> {
        let answer = match message {
            "restore refused" => Answer::Refused { why: self.texts.remove("why")? },
            _ => Answer::Granted {
                what: self.texts.remove("what")?,
                tags: self.texts.remove("tags")?.replace(',', ", "),
                until: self.texts.remove("until"),
            },
        };
        Some(Request {
            sender: self.texts.remove("sender")?,
            repository: self.texts.remove("repository")?,
            digest: self.texts.remove("digest")?,
            answer,
        })
    }
}

/// Passes lines on.
struct Tap(UnboundedSender<Line>);

impl<S: Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(line) = fields.line() {
            // Nobody listens any more once the program ends.
            let _ = self.0.send(line);
        }
    }
}

/// Reads the log from now on. It goes to standard error as well where that is asked for, here or by `RUST_LOG`.
pub(crate) fn install(show: bool) -> Result<UnboundedReceiver<Line>, Error> {
    let (sender, lines) = mpsc::unbounded_channel();
    let ours = Targets::new().with_target("tagwarden", LevelFilter::INFO);
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) => Some(EnvFilter::try_new(filter)?),
        Err(_) => show.then(|| EnvFilter::new("info")),
    };
    let shown =
        filter.map(|filter| fmt::layer().compact().with_writer(io::stderr).with_filter(filter));
    tracing_subscriber::registry().with(Tap(sender).with_filter(ours)).with(shown).try_init()?;
    Ok(lines)
}
