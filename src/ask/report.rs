//! What is asked for and what became of it, as text and as JSON.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::asked::{Asked, AskedAll, End, Stage};
use super::by_hand;
use super::request::{Chosen, Standing, Wish};
use crate::domain::names::{RegistryId, Tag};
use crate::table::{self, Column, TableRow, WholeTags, count, table_with_lines};

/// The document's name and version.
const SCHEMA: &str = "tagwarden.restored/1";
/// The widths that texts keep at a terminal, so that a table has 80 columns.
const REPOSITORY: u16 = 10;
const TAGS: u16 = 8;
/// The room for tags beside their outcome.
const RESULT_TAGS: u16 = 16;
const RULE: u16 = 4;
/// The id of most findings is shown.
const WORST: u16 = 14;

/// What is asked for and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    tagwarden: &'static str,
    account: String,
    region: String,
    /// What is asked for.
    asks: &'static str,
    /// Until when the images are to be left alone.
    until: Option<String>,
    /// Whether nothing was to be sent.
    dry_run: bool,
    /// Why the work ended before every image had its answer.
    stopped: Option<&'static str>,
    images: Vec<Row>,
    #[serde(skip)]
    by_hand: Option<String>,
}

/// One image.
#[derive(Debug, Serialize)]
struct Row {
    account: String,
    region: String,
    repository: String,
    digest: String,
    /// The tags to give back.
    tags: Vec<String>,
    /// When the tags were removed.
    since: Option<String>,
    rule: Option<String>,
    worst: Option<String>,
    /// How the image stood before.
    state: &'static str,
    /// The id of the request, if its message was sent.
    request: Option<String>,
    /// What became of it; nothing if it was not asked about.
    outcome: Option<&'static str>,
    restored: Vec<String>,
    present: Vec<String>,
    superseded: Vec<String>,
    held_until: Option<String>,
    /// Why it was refused, or could not be sent.
    problem: Option<String>,
    #[serde(skip)]
    standing: Standing,
}

impl Report {
    /// Reports for a caller in this account and Region.
    #[must_use]
    pub(crate) fn new(own: &RegistryId, all: &AskedAll, dry_run: bool) -> Self {
        let (asks, until) = match &all.wish {
            Wish::GiveBack => ("give_back", None),
            Wish::Hold { until, .. } => ("hold", Some(time(*until))),
            Wish::Withdraw => ("withdraw", None),
        };
        let mut images: Vec<_> = all.images.iter().map(Row::new).collect();
        images.sort_by(|one, other| one.place().cmp(&other.place()));
        Self {
            schema: SCHEMA,
            tagwarden: env!("CARGO_PKG_VERSION"),
            account: own.account.to_string(),
            region: own.region.to_string(),
            asks,
            until,
            dry_run,
            stopped: all.end.as_ref().map(|end| match end {
                End::Interrupted => "interrupted",
                End::NotSent(_) => "not_sent",
                End::Unreadable(_) => "unreadable",
                End::NoAnswer { .. } => "no_answer",
            }),
            by_hand: by_hand::commands(all.images.iter().map(|one| &one.chosen)),
            images,
        }
    }

    /// Returns the document as JSON.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Returns a table of the images before anything is asked, and their number, in lines of at
    /// most this width.
    #[must_use]
    pub(crate) fn chosen(&self, width: Option<u16>) -> String {
        let columns = [
            Column::at_least(REPOSITORY, "REPOSITORY"),
            Column::fixed("IMAGE"),
            Column::fixed("TAGS"),
            Column::fixed("SINCE"),
            Column::at_least(RULE, "RULE"),
            Column::at_least(WORST, "WORST"),
            Column::fixed("STATE"),
        ];
        let rows = self.images.iter().map(|row| {
            let tags = WholeTags::new(&row.tags, TAGS, width);
            let cells = vec![
                self.place(row),
                table::digest(&row.digest, width),
                tags.cell,
                shown_time(row.since.as_deref(), width),
                row.rule.clone().unwrap_or_default(),
                row.worst.clone().unwrap_or_default(),
                row.standing.shortly().to_owned(),
            ];
            TableRow { cells, below: tags.below }
        });
        let table = table_with_lines(&columns, rows.collect(), width);
        let askable = || self.images.iter().filter(|row| row.standing == Standing::Askable);
        let tags: usize = askable().map(|row| row.tags.len()).sum();
        let places: BTreeSet<_> = askable().map(|row| row.place().0).collect();
        let images = count(askable().count() as u64, "image", "images");
        let tags = count(tags as u64, "tag", "tags");
        let repositories = count(places.len() as u64, "repository", "repositories");
        let what = match self.asks {
            _ if askable().next().is_none() => "Nothing to ask the worker for".to_owned(),
            "withdraw" => format!("{images} in {repositories} to ask the worker about"),
            _ => format!("{images}, {tags} in {repositories} to ask the worker for"),
        };
        let others = Standing::NOT_ASKED.into_iter().filter_map(|standing| {
            let images = self.images.iter().filter(|row| row.standing == standing).count();
            (images > 0).then(|| format!("\nNot asked about: {images} {}.", standing.in_words()))
        });
        let others: String = others.collect();
        let judged = match (self.asks, askable().next()) {
            ("give_back", Some(_)) => {
                "\nThe worker judges each of them then, and refuses what it would remove again."
            }
            _ => "",
        };
        format!("{table}\n{what}.{judged}{others}")
    }

    /// Returns what became of each image, in lines of at most this width, and the numbers.
    #[must_use]
    pub(crate) fn outcomes(&self, width: Option<u16>) -> String {
        let columns = [
            Column::free("REPOSITORY"),
            Column::fixed("IMAGE"),
            Column::fixed("TAGS"),
            Column::fixed("OUTCOME"),
        ];
        let asked: Vec<_> = self.images.iter().filter(|row| row.outcome.is_some()).collect();
        let rows = asked.iter().flat_map(|row| {
            row.results().into_iter().map(|(tags, outcome)| {
                let digest = table::digest(&row.digest, width);
                let tags = WholeTags::new(&tags, RESULT_TAGS, width);
                let cells = vec![self.place(row), digest, tags.cell, outcome];
                TableRow { cells, below: tags.below }
            })
        });
        let table = table_with_lines(&columns, rows.collect(), width);
        let problems = asked.iter().filter_map(|row| {
            let digest = table::digest(&row.digest, width);
            Some((format!("{} {digest}", self.place(row)), row.problem.clone()?))
        });
        let problems = table::notes(problems, width);
        let parts = [table, problems, self.next(), self.counts().to_string()];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }

    /// Returns what to do about refusals, and what the end of a hold means.
    fn next(&self) -> String {
        let first = |outcome| self.images.iter().find(|row| row.outcome == Some(outcome));
        if let Some(name) = first("withdrawn").map(|row| self.name(row)) {
            return format!(
                "No tag is removed now. If the image violates the policy, its tags are removed\n\
                 at the next event about it, or by the next sweep. Whether it does:\n  \
                 tagwarden explain {name}\n"
            );
        }
        let Some(name) = first("refused").map(|row| self.name(row)) else { return String::new() };
        match self.asks {
            "hold" => format!(
                "Refused: ask again as the reason says; a hold lasts restore.max_hold at most.\n  \
                 tagwarden explain {name}\n"
            ),
            "withdraw" => format!("Refused: its holds and records:\n  tagwarden explain {name}\n"),
            _ => format!(
                "Refused: push the tag again with the fixes, or add an exception to the policy,\n\
                 or hold it; and what the policy says of it now:\n  tagwarden restore {name} \\\n    \
                 --until 3d --reason \"...\" --owner \"...\"\n  tagwarden explain {name}\n"
            ),
        }
    }

    /// Returns the name of an image for a command line.
    fn name(&self, row: &Row) -> String {
        let host = match row.account == self.account && row.region == self.region {
            true => String::new(),
            false => format!("{}.dkr.ecr.{}.amazonaws.com/", row.account, row.region),
        };
        match row.tags.first() {
            Some(tag) => format!("{host}{}:{tag}", row.repository),
            None => format!("{host}{}@{}", row.repository, row.digest),
        }
    }

    /// Returns the commands for the images whose tags the worker does not give back.
    #[must_use]
    pub(crate) fn by_hand(&self) -> Option<&str> {
        self.by_hand.as_deref()
    }

    /// Returns the repository's name, preceded by its registry if that is not the caller's own.
    fn place(&self, row: &Row) -> String {
        if row.account == self.account && row.region == self.region {
            return row.repository.clone();
        }
        format!("{}/{}/{}", row.account, row.region, row.repository)
    }

    fn counts(&self) -> Counts<'_> {
        Counts(&self.images)
    }
}

impl Row {
    fn new(asked: &Asked) -> Self {
        let Asked { chosen, request, stage } = asked;
        let Chosen { repository, digest, tags, since, rule, worst, standing, .. } = chosen;
        let mut row = Self {
            account: repository.account.to_string(),
            region: repository.region.to_string(),
            repository: repository.name.to_string(),
            digest: digest.to_string(),
            tags: strings(tags),
            since: since.map(time),
            rule: rule.clone(),
            worst: worst.clone(),
            state: standing.word(),
            request: None,
            outcome: None,
            restored: Vec::new(),
            present: Vec::new(),
            superseded: Vec::new(),
            held_until: None,
            problem: None,
            standing: *standing,
        };
        row.request = (*stage != Stage::NotBegun).then(|| request.clone());
        match stage {
            Stage::NotBegun if *standing == Standing::Closed => row.outcome = Some(DONE_BEFORE),
            Stage::NotBegun => {}
            Stage::NotSent(problem) => {
                (row.outcome, row.problem) = (Some("not_sent"), Some(problem.clone()));
            }
            Stage::Sent => row.outcome = Some("sent"),
            Stage::Answered(answer) => {
                row.outcome = Some(match () {
                    () if answer.refused.is_some() => "refused",
                    () if answer.is_withdrawn => "withdrawn",
                    () if !answer.restored.is_empty() => "restored",
                    () if !answer.superseded.is_empty() => "superseded",
                    () if answer.held_until.is_some() => "held",
                    () => "present",
                });
                row.restored = strings(&answer.restored);
                row.present = strings(&answer.present);
                row.superseded = strings(&answer.superseded);
                row.held_until = answer.held_until.map(time);
                row.problem = answer.refused.clone();
            }
        }
        row
    }

    fn place(&self) -> ([&str; 3], &str) {
        ([&self.account, &self.region, &self.repository], &self.digest)
    }

    /// Returns each result with the tags that it is about.
    fn results(&self) -> Vec<(Vec<&String>, String)> {
        let closed = [
            (&self.restored, "restored"),
            (&self.present, "there by now"),
            (&self.superseded, "left alone: pushed anew"),
        ];
        let rest = self.tags.iter().filter(|tag| closed.iter().all(|(of, _)| !of.contains(tag)));
        let rest: Vec<_> = rest.collect();
        let closed = closed.into_iter().filter(|(tags, _)| !tags.is_empty());
        let mut results: Vec<(Vec<_>, _)> =
            closed.map(|(tags, words)| (tags.iter().collect(), words.to_owned())).collect();
        if let Some(until) = &self.held_until {
            results.push((Vec::new(), format!("held until {until}")));
        }
        let (word, tags) = match self.outcome {
            Some("refused") => ("refused", rest),
            Some("not_sent") => ("not sent", rest),
            Some("sent") => ("no answer yet", rest),
            Some(DONE_BEFORE) => ("done before", rest),
            Some("withdrawn") => ("hold ended", Vec::new()),
            _ if results.is_empty() => ("nothing to give back", rest),
            _ => return results,
        };
        results.push((tags, word.to_owned()));
        results
    }
}

/// The outcome of an image whose tags were all given back, or moved, before.
const DONE_BEFORE: &str = "done_before";

/// Counts images by what became of them.
struct Counts<'a>(&'a [Row]);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |outcome: &'static str| {
            self.0.iter().filter(|row| row.outcome == Some(outcome)).count()
        };
        let not_asked = |row: &&Row| row.outcome.is_none();
        let counts = [
            (of(DONE_BEFORE), "done before"),
            (of("restored"), "restored"),
            (of("held"), "held"),
            (of("withdrawn"), "no longer held"),
            (of("present"), "there by now"),
            (of("superseded"), "left alone"),
            (of("refused"), "refused"),
            (of("sent"), "without an answer"),
            (of("not_sent"), "not sent"),
            (self.0.iter().filter(not_asked).count(), "not asked about"),
        ];
        let counts = counts.into_iter().filter(|(images, _)| *images > 0);
        let counts: Vec<_> = counts.map(|(images, words)| format!("{images} {words}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// Returns a time as a program reads it, or at a terminal to the minute and without the year.
fn shown_time(at: Option<&str>, width: Option<u16>) -> String {
    let at = at.unwrap_or_default();
    match (width, at.get(5..16)) {
        (Some(_), Some(short)) => short.replace('T', " "),
        _ => at.to_owned(),
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn strings<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<String> {
    tags.into_iter().map(ToString::to_string).collect()
}
