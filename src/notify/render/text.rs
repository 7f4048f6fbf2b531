//! The format `text`: the notice as a mail.

use std::fmt::Write as _;

use super::Cut;
use super::summary::{
    Back, back, explain, kept_because, kept_label, next_step, pull, reasons, updates, what, works,
};
use super::words::{Reasons, Style, and_more, counting, finding_line, plain, tag_lines};
use crate::notify::Notice;

/// The maximum number of items and of characters of a text that people read.
const READABLE: (usize, usize) = (20, 1000);
/// The maximum number of lines about packages.
const FIXES: usize = 10;

/// Returns the mail: first what a stranger has to know, then the findings, then the details.
pub(super) fn text(notice: &Notice, contact: Option<&str>, whole: Cut) -> String {
    let cut = whole.at_most(READABLE.0, READABLE.1);
    let style = Style { cut, text: plain, name: str::to_owned };
    let mut out = String::new();
    summary(&mut out, notice, contact, style);
    findings(&mut out, notice, style);
    details(&mut out, notice, style);
    footer(&mut out, notice, cut);
    out
}

fn summary(out: &mut String, notice: &Notice, contact: Option<&str>, style: Style) {
    let _ = writeln!(out, "{}\n", what(notice, style));
    let mut line = |label: &str, words: &str| {
        let _ = writeln!(out, "{label}: {words}");
    };
    for (label, words) in reasons(notice, style) {
        line(label, &words);
    }
    if let Some(because) = kept_because(notice, style) {
        line(kept_label(notice), &because);
    }
    if let Some(command) = explain(notice) {
        line("Why in detail", &command);
    }
    if let Some(works) = works(notice) {
        let pull = pull(notice).map(|pull| format!("\n  {pull}")).unwrap_or_default();
        line("Still works", &format!("{works}{pull}"));
    }
    line("What to do", next_step(notice));
    let fixes = updates(notice);
    if !fixes.is_empty() {
        out.push_str("Update:\n");
    }
    let most = style.cut.items.min(FIXES);
    for fix in fixes.iter().take(most) {
        let _ = writeln!(out, "  {}", fix.line(style));
    }
    if let Some(more @ 1..) = fixes.len().checked_sub(most) {
        let _ = writeln!(out, "  and {more} more");
    }
    if let Some(Back { words, command, after }) = back(notice) {
        let _ = writeln!(out, "Get it back: {words}");
        for line in command.into_iter().chain(after.map(str::to_owned)) {
            let _ = writeln!(out, "  {line}");
        }
    }
    if let Some(contact) = contact {
        let _ = writeln!(out, "Ask: {}", plain(contact, usize::MAX));
    }
}

fn findings(out: &mut String, notice: &Notice, style: Style) {
    let all: Vec<_> = counting(notice).collect();
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nVulnerabilities that count:");
    for finding in all.iter().take(style.cut.items) {
        let _ = writeln!(out, "  {}", finding_line(finding, style));
        if let Some(link) = &finding.link {
            let _ = writeln!(out, "    {}", plain(link, style.cut.chars));
        }
    }
    if let Some(more) = and_more(notice, style.cut.items) {
        let _ = writeln!(out, "  {more}");
    }
}

fn details(out: &mut String, notice: &Notice, style: Style) {
    let cut = style.cut;
    out.push_str("\nDetails:\n");
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(out, "  {label}: {value}");
    };
    line("Repository", notice.repository.name.as_str());
    line("Account", notice.repository.account.as_str());
    line("Region", notice.repository.region.as_str());
    line("Digest", notice.digest.as_str());
    if let Some(child) = &notice.cause {
        let platform = child.platform.as_deref().unwrap_or("no platform given");
        line("Vulnerable image", &format!("{} ({})", child.digest, plain(platform, cut.chars)));
    }
    for (label, value) in tag_lines(notice, cut, str::to_owned) {
        line(label, &value);
    }
    let set_aside = Reasons::of(notice).set_aside;
    for reason in set_aside.iter().take(cut.items) {
        line("Also found", &plain(reason, cut.chars));
    }
    if let Some(more @ 1..) = set_aside.len().checked_sub(cut.items) {
        line("Also found", &format!("and {more} more"));
    }
}

fn footer(out: &mut String, notice: &Notice, cut: Cut) {
    let event = &notice.event;
    let plain = |text: &str| plain(text, cut.chars);
    let _ = write!(
        out,
        "  Event: {} ({}, {}",
        plain(&notice.event_id),
        plain(&event.source),
        plain(&event.detail_type)
    );
    if let Some(time) = &event.time {
        let _ = write!(out, ", {}", plain(time));
    }
    let _ = writeln!(out, ")");
    let _ = write!(out, "  Notice: {}, mode {}", plain(&notice.id), notice.mode.as_str());
    let _ = write!(out, ", policy {}", notice.policy);
    if let Some(evaluation) = &notice.evaluation {
        let _ = write!(out, ", rule {}", plain(&evaluation.rule));
    }
    out.push('\n');
}
