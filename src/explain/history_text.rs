//! Prints the history of an image for people, the most important first.

use std::fmt;

use super::history::{ExplainedHistory, ExplainedHold, ExplainedOutcome, ExplainedRemoval, TagNow};
use super::today::Verdict;
use crate::domain::record::RecordedFinding;
use crate::domain::text::escaped;

/// The findings that are shown.
const MAX_FINDINGS: usize = 5;
/// The tags that are named in one line.
const MAX_NAMED: usize = 8;
/// The digits of a digest that people compare.
const DIGITS: usize = "sha256:".len() + 12;

impl fmt::Display for ExplainedHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut removals = self.removals.iter();
        let newest = removals.next();
        writeln!(f, "{}", escaped(&self.headline(newest), &[]))?;
        let mut line =
            |label: &str, value: &str| writeln!(f, "  {label:<11}{}", escaped(value, &[]));
        if !self.verified {
            line("certainty", "not verified: anybody who can push can write such a record")?;
        }
        if let Some(removal) = newest {
            for (label, text) in removal.lines() {
                line(&label, &text)?;
            }
        }
        let mut others: Vec<_> = removals.collect();
        others.sort_by_key(|removal| &removal.at);
        for removal in others {
            let at = removal.at.as_deref().unwrap_or("at an unknown time");
            let tags = named(&removal.tags, removal.more_tags);
            line("also", &format!("{at}: {tags} (rule {})", removal.rule))?;
        }
        for outcome in &self.outcomes {
            for (label, text) in outcome.lines() {
                line(label, &text)?;
            }
        }
        for hold in &self.holds {
            line("hold", &hold.in_words())?;
        }
        for (label, text) in self.state() {
            line(label, &text)?;
        }
        Ok(())
    }
}

impl ExplainedHistory {
    fn headline(&self, newest: Option<&ExplainedRemoval>) -> String {
        let digest = short(&self.digest);
        let Some(newest) = newest else {
            return format!("{}@{digest} has records, and none of a removal", self.name);
        };
        let at = newest.at.as_deref().map(|at| format!(" on {at}")).unwrap_or_default();
        match &self.tag {
            Some(tag) => format!("{}:{tag} was removed from {digest}{at}", self.name),
            None => format!("tags were removed from {}@{digest}{at}", self.name),
        }
    }

    /// What became of the image.
    fn state(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if self.more_records > 0 {
            lines.push(("", format!("and {} older records", self.more_records)));
        }
        if self.unverified_records > 0 {
            let why = "artifacts with the type of a record count for nothing";
            lines.push(("", format!("{} {why}", self.unverified_records)));
        }
        if self.too_many_artifacts {
            let what = "more artifacts are attached to it than are read: no hold counts";
            lines.push(("", what.to_owned()));
        }
        let now = match self.tag_now {
            Some(TagNow::OnImage) => "the tag is on this image again".to_owned(),
            Some(TagNow::Moved) => {
                let on = self.tag_is_on.as_deref().map(short).unwrap_or_default();
                format!("the tag is on another image, {on}")
            }
            Some(TagNow::Gone) => {
                "the tag was given back or had moved, and is on no image".to_owned()
            }
            Some(TagNow::Removed) => "quarantined".to_owned(),
            None if self.open.is_empty() => "none of its tags is missing".to_owned(),
            None => format!("quarantined; missing: {}", named(&self.open, 0)),
        };
        lines.push(("now", format!("{now}; pull by digest works:")));
        lines.push(("", self.pull.clone()));
        lines
    }

    /// Says what would become of the tags if they were given back now.
    pub(super) fn today(&self) -> Option<&'static str> {
        self.restore.as_ref()?;
        Some(match self.if_given_back.as_ref().map(|today| today.verdict) {
            Some(Verdict::RemovedAgain) => {
                "removed; it still violates the policy, and would be removed again"
            }
            Some(Verdict::Stays) => "removed; the policy of today lets it stay",
            Some(Verdict::Unknown) | None => {
                "removed; whether the policy of today lets it stay is not known"
            }
        })
    }

    /// Says what to type next.
    pub(super) fn next(&self) -> Vec<(&'static str, String)> {
        let Some(restore) = &self.restore else { return Vec::new() };
        let verdict = self.if_given_back.as_ref().map(|today| today.verdict);
        let is_removed_again = verdict == Some(Verdict::RemovedAgain);
        let mut lines = Vec::new();
        if !self.is_for_worker {
            let why = match self.too_many_artifacts {
                true => "too many artifacts are attached to it",
                false => "no record of it is signed",
            };
            lines.push(("give back", format!("not by the worker: {why}")));
            lines.push(("", "this prints the commands to give it back by hand:".to_owned()));
            lines.push(("", restore.clone()));
            if is_removed_again {
                lines.push(("first", "have an exception, or it is removed again".to_owned()));
            }
            return lines;
        }
        let hold = [
            ("hold it", format!("{restore} \\")),
            ("", format!("  --until {} --reason \"...\" --owner \"...\"", self.until)),
        ];
        if is_removed_again {
            lines.push(("best", "rebuild it with the fixes, and push the tag again".to_owned()));
            lines.extend(hold);
            lines.push(("give back", "is refused without a hold or an exception".to_owned()));
            return lines;
        }
        lines.push(("give back", restore.clone()));
        lines.extend(hold);
        lines
    }
}

impl ExplainedRemoval {
    fn lines(&self) -> Vec<(String, String)> {
        let mut lines = vec![("by".to_owned(), format!("tagwarden, rule {}", self.rule))];
        let time = self.event_time.as_deref().map(|at| format!(" of {at}")).unwrap_or_default();
        lines.push(("event".to_owned(), format!("{}{time}", self.event)));
        if let Some(cause) = &self.cause {
            let platform = self.platform.as_deref().unwrap_or("no platform given");
            lines.push(("because of".to_owned(), format!("{platform}, {}", short(cause))));
        }
        lines.extend(self.reasons.iter().map(|why| ("because".to_owned(), why.clone())));
        let shown = self.findings.iter().take(MAX_FINDINGS);
        lines.extend(shown.map(|finding| (finding.severity.to_uppercase(), in_words(finding))));
        let more = self.findings.len().saturating_sub(MAX_FINDINGS) as u64 + self.more_findings;
        if more > 0 {
            lines.push((String::new(), format!("and {more} more findings that count")));
        }
        lines.push(("removed".to_owned(), named(&self.tags, self.more_tags)));
        lines.push(("notified".to_owned(), format!("notice {}", self.notice)));
        lines
    }
}

impl ExplainedOutcome {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let at = self.at.as_deref().unwrap_or("at an unknown time");
        let by = self.request.as_deref().map(|id| format!(" (request {id})")).unwrap_or_default();
        let closed = [
            ("given back", &self.restored),
            ("was there", &self.present),
            ("had moved", &self.superseded),
        ];
        let mut lines: Vec<_> = closed
            .into_iter()
            .filter(|(_, tags)| !tags.is_empty())
            .map(|(label, tags)| (label, format!("{}: {at}{by}", named(tags, 0))))
            .collect();
        lines.extend(self.refused.as_ref().map(|why| ("refused", format!("{at}{by}: {why}"))));
        lines
    }
}

impl ExplainedHold {
    fn in_words(&self) -> String {
        let Self { until, owner, reason, in_force, withdrawn, verified, .. } = self;
        let state = match (withdrawn, in_force, verified) {
            (true, ..) => "withdrawn",
            (_, false, _) => "not in force",
            (_, true, true) => "in force",
            (_, true, false) => "not verified here: the worker knows whether it is in force",
        };
        format!("until {until} by {owner} ({reason}); {state}")
    }
}

fn in_words(finding: &RecordedFinding) -> String {
    let mut text = finding.id.clone();
    for (before, part) in
        [(" ", &finding.package), (" ", &finding.installed), (", fixed in ", &finding.fixed)]
    {
        if let Some(part) = part {
            text.push_str(before);
            text.push_str(part);
        }
    }
    text
}

fn named(tags: &[String], more: usize) -> String {
    let more = more + tags.len().saturating_sub(MAX_NAMED);
    let mut named: Vec<_> = tags.iter().take(MAX_NAMED).cloned().collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGITS).collect()
}
