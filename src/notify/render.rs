//! A notice in each of its forms.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Notice, NoticeAction};
use crate::config::NoticeFormat;
use crate::domain::findings::Finding;
use crate::domain::policy::Mode;

/// SNS takes 262,144 bytes, attributes included (SNS API reference, Publish).
const MOST_BYTES: usize = 256_000;
/// Findings that a notice lists.
const WORST: usize = 10;
/// Items of a list that people read.
const READABLE: usize = 20;
/// Items of a list in a document that came out too large.
const CUT: usize = 100;

/// A notice ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// For e-mail: under 100 printable ASCII characters.
    pub subject: String,
    /// The message.
    pub body: String,
    /// For subscription filters. No value is empty.
    pub attributes: BTreeMap<&'static str, String>,
}

/// Renders a notice. Lists that would make it too large are cut, and the cut is said.
#[must_use]
pub fn render(notice: &Notice, format: NoticeFormat) -> Rendered {
    let body = |most: usize| match format {
        NoticeFormat::Text => text(notice, most.min(READABLE)),
        NoticeFormat::Json => document(notice, most).to_string(),
        NoticeFormat::Chat => chat(notice, most.min(READABLE)).to_string(),
    };
    let whole = body(usize::MAX);
    let body = if whole.len() <= MOST_BYTES { whole } else { body(CUT) };
    Rendered { subject: subject(notice), body, attributes: attributes(notice) }
}

fn attributes(notice: &Notice) -> BTreeMap<&'static str, String> {
    let worst = notice.judgement.as_ref().and_then(|judgement| judgement.worst);
    BTreeMap::from([
        ("action", notice.action.as_str().to_owned()),
        ("severity", worst.map_or("none", |severity| severity.as_key()).to_owned()),
        ("repository", notice.repository.name.to_string()),
        ("account", notice.repository.account.to_string()),
        ("region", notice.repository.region.to_string()),
    ])
}

/// What happened, as the start of a sentence about the image.
fn headline(notice: &Notice) -> String {
    let untagged = notice.tags.untagged.len() + notice.tags.claimed.len();
    match notice.action {
        NoticeAction::Quarantined => format!("{} quarantined", tags(untagged)),
        NoticeAction::Deleted => format!("image deleted, {} untagged", tags(untagged)),
        NoticeAction::WouldUntag => {
            format!("audit: {} would be untagged", tags(notice.tags.would_untag.len()))
        }
        NoticeAction::Blocked => "vulnerable image could not be untagged".to_owned(),
        NoticeAction::Unscanned => "image could not be judged".to_owned(),
        NoticeAction::Failed => "the worker needs attention".to_owned(),
    }
}

fn tags(count: usize) -> String {
    format!("{count} {}", if count == 1 { "tag" } else { "tags" })
}

fn subject(notice: &Notice) -> String {
    // Every part is ASCII without control characters by its type, so only the length needs care.
    let mut subject = format!("tagwarden: {}: {}", headline(notice), notice.repository.name);
    if subject.len() > 99 {
        subject.truncate(96);
        subject.push_str("...");
    }
    subject
}

fn finding(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "severity": finding.severity.as_word(),
        "package": finding.package,
        "installed": finding.installed,
        "fixed": finding.fixed,
    })
}

/// The versioned document `tagwarden.notice/1`.
fn document(notice: &Notice, most: usize) -> Value {
    let mut cut = Map::new();
    let mut list = |name: &str, items: Vec<String>| {
        let left_out = items.len().saturating_sub(most);
        if left_out > 0 {
            cut.insert(name.to_owned(), left_out.into());
        }
        items.into_iter().take(most).collect::<Vec<_>>()
    };
    let strings = |tags: &[_]| tags.iter().map(ToString::to_string).collect::<Vec<String>>();
    let tags = json!({
        "untagged": list("tags.untagged", strings(&notice.tags.untagged)),
        "claimed": list("tags.claimed", strings(&notice.tags.claimed)),
        "kept": list("tags.kept", strings(&notice.tags.kept)),
        "would_untag": list("tags.would_untag", strings(&notice.tags.would_untag)),
        "quarantine": notice.tags.quarantine.as_ref().map(ToString::to_string),
    });
    let reasons = list("reasons", notice.reasons.clone());
    let counts: Map<String, Value> = notice
        .counts
        .iter()
        .map(|(severity, count)| (severity.as_key().to_owned(), count.into()))
        .collect();
    let mut document = json!({
        "schema": "tagwarden.notice/1",
        "id": notice.id,
        "action": notice.action.as_str(),
        "mode": notice.mode.as_str(),
        "image": {
            "account": notice.repository.account.as_str(),
            "region": notice.repository.region.as_str(),
            "repository": notice.repository.name.as_str(),
            "digest": notice.digest.as_str(),
        },
        "tags": tags,
        "findings": counts,
        "worst": notice.findings.iter().take(WORST).map(finding).collect::<Vec<_>>(),
        "reasons": reasons,
        "rule": notice.judgement.as_ref().map(|judgement| judgement.rule),
        "event": {
            "id": notice.event_id,
            "source": notice.event.source,
            "detail_type": notice.event.detail_type,
            "time": notice.event.time,
        },
    });
    if !cut.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("cut".to_owned(), cut.into());
    }
    document
}

/// A list in a sentence, with what was left out of it.
fn enumerated<T: ToString>(items: &[T], most: usize) -> String {
    let shown: Vec<_> = items.iter().take(most).map(ToString::to_string).collect();
    match items.len().saturating_sub(most) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// One line for each thing that people ask about tags.
fn tag_lines(notice: &Notice, most: usize) -> Vec<(&'static str, String)> {
    let tags = &notice.tags;
    let mut lines = Vec::new();
    for (label, list) in [
        ("Untagged", &tags.untagged),
        ("Gone before", &tags.claimed),
        ("Would be untagged", &tags.would_untag),
        ("Kept", &tags.kept),
    ] {
        if !list.is_empty() {
            lines.push((label, enumerated(list, most)));
        }
    }
    if let Some(quarantine) = &tags.quarantine {
        lines.push(("Quarantined as", quarantine.to_string()));
    }
    lines
}

fn counts_line(notice: &Notice) -> String {
    let counts: Vec<_> = notice
        .counts
        .iter()
        .filter(|&(_, count)| count > 0)
        .map(|(severity, count)| format!("{severity} {count}"))
        .collect();
    counts.join(", ")
}

fn finding_line(finding: &Finding) -> String {
    let mut line = format!("{} {}", finding.severity.as_word(), finding.id);
    if let Some(package) = &finding.package {
        let _ = write!(line, " in {package}");
        if let Some(installed) = &finding.installed {
            let _ = write!(line, " {installed}");
        }
        if let Some(fixed) = &finding.fixed {
            let _ = write!(line, ", fixed in {fixed}");
        }
    }
    line
}

fn text(notice: &Notice, most: usize) -> String {
    let mut out = format!("{}.\n\n", capitalised(&headline(notice)));
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(out, "{:<18} {value}", format!("{label}:"));
    };
    line("Repository", notice.repository.name.as_str());
    line(
        "Account, Region",
        &format!("{}, {}", notice.repository.account, notice.repository.region),
    );
    line("Digest", notice.digest.as_str());
    for (label, value) in tag_lines(notice, most) {
        line(label, &value);
    }
    let counts = counts_line(notice);
    if !counts.is_empty() {
        line("Findings", &counts);
    }
    for reason in notice.reasons.iter().take(most) {
        line("Because", reason);
    }
    if notice.reasons.len() > most {
        line("", &format!("and {} reasons more", notice.reasons.len() - most));
    }
    if !notice.findings.is_empty() {
        let _ = writeln!(out, "\nWorst findings:");
        for finding in notice.findings.iter().take(WORST) {
            let _ = writeln!(out, "  {}", finding_line(finding));
        }
        if notice.findings.len() > WORST {
            let _ = writeln!(out, "  and {} more", notice.findings.len() - WORST);
        }
    }
    let event = &notice.event;
    let _ = write!(out, "\n{} {} {}", event.source, event.detail_type, notice.event_id);
    if let Some(time) = &event.time {
        let _ = write!(out, " of {time}");
    }
    let _ = writeln!(out, "\nNotice {}, mode {}", notice.id, notice.mode.as_str());
    out
}

/// Amazon Q Developer in chat applications shows exactly this schema and drops anything else in silence
/// (its user guide, "Custom notifications").
fn chat(notice: &Notice, most: usize) -> Value {
    let icon = match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => ":no_entry:",
        NoticeAction::WouldUntag => ":eyes:",
        NoticeAction::Blocked | NoticeAction::Unscanned => ":warning:",
        NoticeAction::Failed => ":rotating_light:",
    };
    let mut description = String::new();
    let _ = writeln!(
        description,
        "*Image:* `{}@{}` in {} {}",
        notice.repository.name, notice.digest, notice.repository.account, notice.repository.region
    );
    for (label, value) in tag_lines(notice, most) {
        let _ = writeln!(description, "*{label}:* {value}");
    }
    let counts = counts_line(notice);
    if !counts.is_empty() {
        let _ = writeln!(description, "*Findings:* {counts}");
    }
    if !notice.reasons.is_empty() {
        let _ = writeln!(description, "*Because:* {}", enumerated(&notice.reasons, most));
    }
    for finding in notice.findings.iter().take(3) {
        let _ = writeln!(description, "- {}", finding_line(finding));
    }
    let next_steps: &[&str] = match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => {
            &["Rebuild the image with fixed packages and push it again"]
        }
        NoticeAction::WouldUntag => &["Rebuild before the policy is enforced"],
        NoticeAction::Blocked => &["Untag the image by hand, or change what holds it"],
        NoticeAction::Unscanned => &["Find out why the image has no scan"],
        NoticeAction::Failed => &["Read the worker's log"],
    };
    let mode = if notice.mode == Mode::Audit { " (audit)" } else { "" };
    json!({
        "version": "1.0",
        "source": "custom",
        "id": notice.id,
        "content": {
            "textType": "client-markdown",
            "title": format!("{icon} {}: {}{mode}", capitalised(&headline(notice)), notice.repository.name),
            "description": description,
            "nextSteps": next_steps,
            "keywords": [notice.action.as_str(), notice.repository.name.as_str()],
        },
        "metadata": {
            "threadId": format!("{}@{}", notice.repository, notice.digest),
            "summary": subject(notice),
            "eventType": notice.action.as_str(),
            "additionalContext": {
                "account": notice.repository.account.as_str(),
                "region": notice.repository.region.as_str(),
                "event": notice.event_id,
            },
        },
    })
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
