//! What became of a plan that was applied, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::plan_file::{Document, Entry, Planned, PolicyNote};
use crate::table::{self, Column};

/// The document's name and version.
const SCHEMA: &str = "tagwarden.applied/1";

/// What became of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was handled, with the worker's word for what was done.
    Now { word: &'static str },
    /// An earlier run had handled it.
    Before,
    /// It was not handled, for this reason.
    Not { word: &'static str, problem: String },
}

/// Why the work ended before every image was tried, other than by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// The registry removed more than it was asked to.
    Overreach,
    /// Tags were removed, and the team could not be notified of it.
    Unnotified,
}

impl Stop {
    /// Returns the reason, and what to do.
    #[must_use]
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Overreach => {
                "the registry removed more than requested; find the cause before you run it again"
            }
            Self::Unnotified => {
                "the team could not be notified; make the topics accept notices before you run it \
                 again"
            }
        }
    }
}

/// What became of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct Applied {
    schema: &'static str,
    tagwarden: &'static str,
    account: String,
    region: String,
    policy: PolicyNote,
    /// When the plan was made.
    made_at: String,
    /// Whether every image was tried. It is false after an interruption.
    complete: bool,
    /// Why the work ended early, other than by a signal.
    stopped: Option<Stop>,
    images: Vec<Row>,
}

/// One image of the plan.
#[derive(Debug, Serialize)]
struct Row {
    account: String,
    region: String,
    repository: String,
    digest: String,
    untag: Vec<String>,
    /// The worker's word for what was done or for why it was not, `done_before`, or nothing if the
    /// image was not tried.
    outcome: Option<&'static str>,
    /// The reason why it was not done.
    problem: Option<String>,
    #[serde(skip)]
    at: usize,
}

/// The number of images by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    now: usize,
    before: usize,
    not: usize,
    untried: usize,
}

impl Applied {
    pub(super) fn new(plan: Document, planned: &[Planned]) -> Self {
        let row = |(at, entry): (usize, Entry)| Row {
            account: entry.account,
            region: entry.region,
            repository: entry.repository,
            digest: entry.digest,
            untag: entry.untag,
            outcome: None,
            problem: None,
            at,
        };
        let is_planned = |at: usize| planned.iter().any(|one| one.position() == at);
        let images = plan.images.into_iter().enumerate();
        Self {
            schema: SCHEMA,
            tagwarden: env!("CARGO_PKG_VERSION"),
            account: plan.account,
            region: plan.region,
            policy: plan.policy,
            made_at: plan.made_at,
            complete: planned.is_empty(),
            stopped: None,
            images: images.filter(|(at, _)| is_planned(*at)).map(row).collect(),
        }
    }

    /// Records what became of the image at this position of the plan.
    pub(super) fn done(&mut self, at: usize, done: Done) {
        let Some(row) = self.images.iter_mut().find(|row| row.at == at) else { return };
        (row.outcome, row.problem) = match done {
            Done::Now { word } => (Some(word), None),
            Done::Before => (Some(BEFORE), None),
            Done::Not { word, problem } => (Some(word), Some(problem)),
        };
        self.complete = self.images.iter().all(|row| row.outcome.is_some());
    }

    /// Records why the work ends now.
    pub(super) fn stopped(&mut self, why: Stop) {
        self.stopped = Some(why);
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in &self.images {
            let count = match (row.outcome, &row.problem) {
                (None, _) => &mut counts.untried,
                (Some(_), Some(_)) => &mut counts.not,
                (Some(BEFORE), None) => &mut counts.before,
                (Some(_), None) => &mut counts.now,
            };
            *count += 1;
        }
        counts
    }

    /// Returns whether every image is as the plan wants it.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        let Counts { not, untried, .. } = self.counts();
        not == 0 && untried == 0
    }

    /// Returns why the work ended early, if it was not by a signal.
    #[must_use]
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.stopped
    }

    /// Returns whether the work ended before every image was tried.
    #[must_use]
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.complete
    }

    /// Returns the document as JSON.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Returns a table and a conclusion for people, in lines of at most this width.
    #[must_use]
    pub(crate) fn text(&self, width: Option<u16>) -> String {
        let columns = [
            Column::free("REPOSITORY"),
            Column::fixed("IMAGE"),
            Column::free("TAGS"),
            Column::fixed("OUTCOME"),
            Column::free("REASON"),
        ];
        let tried = self.images.iter().filter(|row| row.outcome.is_some());
        let rows = tried.map(|row| {
            let own = row.account == self.account && row.region == self.region;
            let place = match own {
                true => row.repository.clone(),
                false => format!("{}/{}/{}", row.account, row.region, row.repository),
            };
            vec![
                place,
                table::digest(&row.digest, width),
                table::tags(&row.untag, width),
                row.outcome.unwrap_or_default().replace('_', " "),
                row.problem.clone().unwrap_or_default(),
            ]
        });
        let table = table::table(&columns, rows.collect(), width);
        let gap = if table.is_empty() { "" } else { "\n" };
        let end = match self.stopped {
            Some(_) => "stopped: ",
            None if self.is_interrupted() => "interrupted: ",
            None => "",
        };
        format!("{table}{gap}{end}{}", self.counts())
    }
}

/// The outcome of an image that an earlier run had handled.
const BEFORE: &str = "done_before";

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, before, not, untried } = *self;
        if now + before + not + untried == 0 {
            return f.write_str("nothing to do");
        }
        if before > 0 {
            write!(f, "{before} done before, ")?;
        }
        write!(f, "{now} done now")?;
        if not > 0 {
            write!(f, ", {not} not done")?;
        }
        if untried > 0 {
            write!(f, ", {untried} not begun")?;
        }
        Ok(())
    }
}
