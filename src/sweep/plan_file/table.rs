//! Prints a sweep for people, as a table and a conclusion.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};

use super::{Document, Entry, Unread};
use crate::domain::coverage::Coverage;
use crate::domain::text::{escaped, start};

/// The number of tags of one image that are named one by one.
const NAMED: usize = 3;
/// The longest part of a reason that is shown, in characters.
const LONGEST: usize = 300;

fn cell(text: &str) -> String {
    escaped(&start(text, LONGEST), &[]).into_owned()
}

fn images(count: u64) -> String {
    format!("{count} {}", if count == 1 { "image" } else { "images" })
}

impl Entry {
    fn row(&self, place: String) -> [String; 5] {
        let quarantine = self.digest.replacen("sha256:", "quarantine-", 1);
        let tags: Vec<_> = self.tags.iter().filter(|tag| **tag != quarantine).collect();
        let mut named: Vec<_> = tags.iter().take(NAMED).map(ToString::to_string).collect();
        if tags.len() > NAMED {
            named.push(format!("{} more", tags.len() - NAMED));
        }
        let worst = self.worst().map(|(severity, id)| {
            format!("{severity} {}", id.unwrap_or_default()).trim_end().to_owned()
        });
        let verdict = self.outcome.as_ref().unwrap_or(&self.verdict);
        let reason = self.problem.clone().unwrap_or_else(|| self.reasons.join("; "));
        [place, named.join(", "), worst.unwrap_or_default(), verdict.clone(), reason]
    }
}

impl Document {
    /// Returns the repository's name, preceded by its registry if that is not the worker's own.
    fn place(&self, account: &str, region: &str, repository: Option<&str>) -> String {
        let name = repository.unwrap_or("(all repositories)");
        if account == self.account && region == self.region {
            return name.to_owned();
        }
        format!("{account}/{region}/{name}")
    }

    fn table(&self) -> Option<Table> {
        let listed = self.images.iter().map(|entry| {
            entry.row(self.place(&entry.account, &entry.region, Some(&entry.repository)))
        });
        let failed = self.failed.iter().map(|unread| {
            let Unread { account, region, repository, problem } = unread;
            let place = self.place(account, region, repository.as_deref());
            [place, String::new(), String::new(), "failed".to_owned(), problem.clone()]
        });
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["REPOSITORY", "TAGS", "WORST", "VERDICT", "REASON"]);
        for row in listed.chain(failed) {
            table.add_row(row.map(|text| cell(&text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        (!table.is_empty()).then_some(table)
    }

    /// Returns the number of images that people can pull and that cannot be judged, by reason, so
    /// that readers do not take them for clean.
    fn not_judged(&self) -> Option<String> {
        let of =
            |coverage: Coverage| self.totals.census.get(coverage.as_str()).copied().unwrap_or(0);
        let counts: Vec<_> = Coverage::ALL
            .into_iter()
            .filter(|coverage| coverage.is_gap() || *coverage == Coverage::Scanning)
            .map(|coverage| (of(coverage), coverage.as_str().replace('_', " ")))
            .filter(|(count, _)| *count > 0)
            .collect();
        let all = counts.iter().fold(0_u64, |all, (count, _)| all.saturating_add(*count));
        let each: Vec<_> = counts.iter().map(|(count, word)| format!("{count} {word}")).collect();
        (all > 0).then(|| format!("{} cannot be judged: {}", images(all), each.join(", ")))
    }

    fn conclusion(&self) -> String {
        let done = self.what_was_done();
        match self.not_judged() {
            Some(not_judged) => format!("{done}; {not_judged}"),
            None => done,
        }
    }

    fn what_was_done(&self) -> String {
        let to_go = self.to_go() as u64;
        let count = |of: fn(&&Entry) -> bool| self.images.iter().filter(of).count() as u64;
        let undone = count(|entry| entry.problem.is_some());
        let done = count(|entry| entry.outcome.is_some()) - undone;
        if !self.complete {
            return format!("interrupted: {} done, the others unchanged", images(done));
        }
        match (self.applied, to_go, undone) {
            (_, 0, _) if !self.is_whole() => {
                "no tags to remove in what could be inspected".to_owned()
            }
            (_, 0, _) if self.not_judged().is_some() => "no tags to remove".to_owned(),
            (_, 0, _) => "nothing to do".to_owned(),
            (true, _, 0) => format!("{} done", images(done)),
            (true, _, undone) => format!("{} done, {} not", images(done), images(undone)),
            (false, ..) if self.images.iter().any(|entry| entry.verdict == "untag") => {
                format!("tags of {} would be removed; --apply removes them", images(to_go))
            }
            (false, ..) => {
                format!("tags of {} would be removed, but the mode is audit", images(to_go))
            }
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = self.table() {
            for line in table.lines() {
                writeln!(f, "{}", line.trim_end())?;
            }
            writeln!(f)?;
        }
        let all: u64 = self.totals.census.values().sum();
        let counts: Vec<_> =
            self.totals.census.iter().map(|(word, images)| format!("{images} {word}")).collect();
        match counts.is_empty() {
            true => writeln!(f, "{}", images(all))?,
            false => writeln!(f, "{}: {}", images(all), counts.join(", "))?,
        }
        writeln!(f, "{}", self.conclusion())
    }
}
