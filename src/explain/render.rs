//! Prints an explanation for people.

use std::fmt;

use super::image::ExplainedImage;
use super::{Explanation, Verdict};
use crate::domain::text::escaped;

/// The reasons that are named at the top. The image has them all.
const MAX_REASONS: usize = 3;

impl Verdict {
    /// Returns the verdict in words.
    fn in_words(self) -> &'static str {
        match self {
            Self::Ignored => "ignored: the event is not for tagwarden",
            Self::OutOfScope => "out of scope: the policy does not cover the repository",
            Self::Keep => "keep: no limit is exceeded",
            Self::Untag => "untag",
            Self::WouldUntag => "would untag, but the mode is audit",
            Self::Blocked => "blocked: it violates the policy and keeps its tags",
            Self::Held => "held: it violates the policy and keeps its tags for now",
            Self::Wait => "wait: its findings are not there yet",
            Self::LeftToScan => "left to its scan: an event will come when the scan ends",
            Self::Unscanned => {
                "unscanned: it cannot be judged, which does not mean that it is clean"
            }
            Self::Absent => "absent: there is no such image now",
            Self::NotAnImage => "not a container image: it keeps its tags",
            Self::AlreadyQuarantined => "already quarantined: nothing is left to untag",
            Self::NothingToUntag => "nothing to untag: it violates the policy and has no tag",
            Self::Unknown => "unknown: the event alone is not enough to decide",
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, value: &str| writeln!(f, "{label:<11}{}", escaped(value, &[]));
        // The first is what a vanished tag was removed from last.
        let first = self.history.first();
        let vanished = first.filter(|_| self.verdict == Verdict::Absent);
        let today = vanished.and_then(|first| first.today());
        line("policy", &self.policy_source)?;
        match (&self.tag_kept, today) {
            (Some(why), _) => {
                line("verdict", &format!("kept: {why}; the image has lost other tags"))?
            }
            (None, today) => line("verdict", today.unwrap_or_else(|| self.verdict.in_words()))?,
        }
        if let Some(today) = vanished.and_then(|first| first.if_given_back.as_ref()) {
            for why in today.because.iter().take(MAX_REASONS) {
                line("because", why)?;
            }
        }
        for (label, text) in first.map(|first| first.next()).unwrap_or_default() {
            line(label, &text)?;
        }
        line("judged", self.judged)?;
        if let Some(event) = &self.event {
            let mut parts = vec![format!("{} {}", event.source, event.detail_type)];
            parts.extend(event.id.iter().chain(&event.time).cloned());
            line("event", &parts.join(", "))?;
        }
        if let Some(repository) = &self.repository {
            let super::ExplainedRepository { account, region, name } = repository;
            line("repository", &format!("{name} in {account} {region}"))?;
        }
        if let Some(rule) = &self.rule {
            let applies_in = self.rule_applies_in.as_ref().map(|all| format!(", for {all}"));
            line("rule", &format!("{rule}{}", applies_in.unwrap_or_default()))?;
        }
        if let Some(message) = self.message {
            line("message", message)?;
        }
        for note in &self.notes {
            // The lines after the first are names to copy, and stand alone.
            let mut lines = note.lines();
            line("note", lines.next().unwrap_or_default())?;
            for name in lines {
                line("", name)?;
            }
        }
        for image in &self.images {
            write!(f, "\n{image}")?;
        }
        for history in &self.history {
            write!(f, "\n{history}")?;
        }
        if self.policy.is_empty() || !self.lists_keys {
            return Ok(());
        }
        writeln!(f, "\nkeys that mattered")?;
        let width = self.policy.iter().map(|key| key.key.len()).max().unwrap_or(0);
        for key in &self.policy {
            let by = if key.by_rule { " (by the rule)" } else { "" };
            let remark = key.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
            let value = escaped(&key.value, &[]);
            writeln!(f, "  {:<width$}  {value}{by}{remark}", key.key)?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.as_deref().unwrap_or(match self.kind {
            "index" => "that holds it",
            _ => "that was asked about",
        });
        writeln!(f, "{} {digest}", self.kind)?;
        let mut line =
            |label: &str, value: &str| writeln!(f, "  {label:<11}{}", escaped(value, &[]));
        line("verdict", self.verdict.in_words())?;
        if let Some(child) = &self.cause {
            let platform = child.platform.as_deref().unwrap_or("no platform given");
            line("because of", &format!("{} ({platform})", child.digest))?;
        }
        for reason in &self.reasons {
            line("because", reason)?;
        }
        for finding in &self.findings {
            line("finding", &finding.to_string())?;
        }
        if self.more_findings > 0 {
            line("", &format!("and {} more that count", self.more_findings))?;
        }
        for note in &self.set_aside {
            line("set aside", note)?;
        }
        for used in &self.exceptions {
            let applies_in = used.applies_in.as_ref().map(|all| format!(", for {all}"));
            line(
                "exception",
                &format!(
                    "policy.exceptions[{}], {} until {}{} ({}: {})",
                    used.position,
                    used.exception,
                    used.expires,
                    applies_in.unwrap_or_default(),
                    used.owner,
                    used.reason
                ),
            )?;
        }
        if !self.untag.is_empty() {
            line("untag", &self.untag.join(", "))?;
        }
        if !self.kept.is_empty() {
            line("keep", &self.kept.join(", "))?;
        }
        for why in &self.kept_because {
            line("why kept", why)?;
        }
        for (at, call) in self.calls.iter().enumerate() {
            line(if at == 0 { "calls" } else { "" }, &format!("{:>2}. {call}", at + 1))?;
        }
        Ok(())
    }
}
