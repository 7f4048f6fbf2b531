//! An explanation as a person reads it.

use std::fmt;

use super::{ExplainedImage, Explanation, Verdict};

impl Verdict {
    /// The verdict as the start of a sentence.
    fn in_words(self) -> &'static str {
        match self {
            Self::Ignored => "ignored: the event is not for us",
            Self::OutOfReach => "out of reach: the policy does not cover the repository",
            Self::Keep => "keep",
            Self::Untag => "untag",
            Self::WouldUntag => "would untag, were it not for audit mode",
            Self::Blocked => "blocked: it violates the policy and keeps its tags",
            Self::Wait => "wait: the worker looks again later",
            Self::LeftToScan => "left to its scan event",
            Self::Unscanned => "unscanned: it cannot be judged, and is not taken for clean",
            Self::Absent => "absent: there is no such image",
            Self::NotAnImage => "no container image",
            Self::AlreadyQuarantined => "already quarantined",
            Self::NothingToUntag => "violates the policy, and has no tag to untag",
            Self::Unknown => "unknown: the event alone does not tell",
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = &self.event;
        let mut line = |label: &str, value: &str| writeln!(f, "{label:<13} {value}");
        let id = event.id.as_deref().unwrap_or("without an id");
        line("event", &format!("{} {}, {id}", event.source, event.detail_type))?;
        if let Some(repository) = &self.repository {
            let super::ExplainedRepository { account, region, name } = repository;
            line("repository", &format!("{name} in {account} {region}"))?;
        }
        line("judged", self.judged)?;
        line("verdict", self.verdict.in_words())?;
        if let Some(rule) = &self.rule {
            line("rule", rule)?;
        }
        for note in &self.notes {
            line("note", note)?;
        }
        for image in &self.images {
            writeln!(f)?;
            write!(f, "{image}")?;
        }
        if !self.policy.is_empty() {
            writeln!(f, "\npolicy")?;
        }
        for key in &self.policy {
            let by = if key.by_rule { " (by the rule)" } else { "" };
            writeln!(f, "  {:<15} {}{by}", key.key, key.value)?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.as_deref().unwrap_or("of the event");
        writeln!(f, "{} {digest}", self.kind)?;
        let mut line = |label: &str, value: &str| writeln!(f, "  {label:<11} {value}");
        line("verdict", self.verdict.in_words())?;
        if let Some(child) = &self.cause {
            let platform = child.platform.as_deref().unwrap_or("no platform given");
            line("because of", &format!("{} ({platform})", child.digest))?;
        }
        for reason in &self.reasons {
            line("because", reason)?;
        }
        for note in &self.set_aside {
            line("set aside", note)?;
        }
        for used in &self.exceptions {
            line(
                "exception",
                &format!(
                    "policy.exceptions[{}] {} until {} ({}: {})",
                    used.position, used.exception, used.expires, used.owner, used.reason
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
            line("kept as", why)?;
        }
        for (at, call) in self.calls.iter().enumerate() {
            line(if at == 0 { "calls" } else { "" }, &format!("{}. {call}", at + 1))?;
        }
        Ok(())
    }
}
