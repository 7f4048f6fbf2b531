//! The format `text`: the notice as a mail.

use std::fmt::Write as _;

use super::Cut;
use super::words::{
    capitalised, counts_line, finding_line, headline, meaning, next_step, plain, reasons,
    tag_lines, unnamed, worst,
};
use crate::notify::Notice;
use crate::notify::undo::Undo;

/// The maximum number of items and of characters of a text that people read.
const READABLE: (usize, usize) = (20, 1000);

/// Returns the mail: first what happened and what that means, then the facts, then the next steps.
pub(super) fn text(notice: &Notice, whole: Cut) -> String {
    let cut = whole.at_most(READABLE.0, READABLE.1);
    let mut out = format!("{}. {}\n\n", capitalised(&headline(notice)), meaning(notice));
    facts(&mut out, notice, cut);
    findings(&mut out, notice, cut);
    let _ = writeln!(out, "\nWhat to do: {}", capitalised(next_step(notice)));
    // The commands are cut for size alone, because no other part of the notice has all removed
    // tags.
    if let Some(undo) = Undo::of(notice, whole.items) {
        let _ = writeln!(
            out,
            "\nTo undo it, follow these steps in order. Without the exception, a restored tag is \
             removed again.\n\n\
             1. Fill in this exception, add it to the worker's configuration (here in TOML) and \
             restart the worker:\n\n\
             {}\n\n\
             2. Restore the tags. A tag that was pushed again in the meantime is left alone:\n\n\
             {}",
            undo.exception, undo.command
        );
        if undo.left_out > 0 {
            let _ = writeln!(
                out,
                "\nThe command leaves out {} more tags because they do not fit. The worker's log \
                 has them all (target tagwarden::audit).",
                undo.left_out
            );
        }
    }
    footer(&mut out, notice, cut);
    out
}

fn facts(out: &mut String, notice: &Notice, cut: Cut) {
    let mut line = |label: &str, value: &str| {
        let label = if label.is_empty() { String::new() } else { format!("{label}:") };
        let _ = writeln!(out, "{label:<18} {value}");
    };
    line("Repository", notice.repository.name.as_str());
    line(
        "Account, Region",
        &format!("{}, {}", notice.repository.account, notice.repository.region),
    );
    line("Digest", notice.digest.as_str());
    if let Some(child) = &notice.cause {
        let platform = child.platform.as_deref().unwrap_or("no platform given");
        line("Vulnerable child", &format!("{} ({})", child.digest, plain(platform, cut.chars)));
    }
    for (label, value) in tag_lines(notice, cut.items, str::to_owned) {
        line(label, &value);
    }
    if let Some(counts) = counts_line(notice) {
        line("Findings", &counts);
    }
    for (mut label, group) in reasons(notice) {
        for reason in group.iter().take(cut.items) {
            line(std::mem::take(&mut label), &plain(reason, cut.chars));
        }
        let more = group.len().saturating_sub(cut.items);
        if more > 0 {
            line("", &format!("and {more} more"));
        }
    }
}

fn findings(out: &mut String, notice: &Notice, cut: Cut) {
    let worst = worst(notice);
    if worst.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nWorst findings:");
    for finding in worst.iter().take(cut.items) {
        let _ = writeln!(out, "  {}", finding_line(finding, cut, plain));
        if let Some(link) = &finding.link {
            let _ = writeln!(out, "    {}", plain(link, cut.chars));
        }
    }
    if let Some(more) = unnamed(notice, cut.items) {
        let _ = writeln!(out, "  {more}");
    }
}

fn footer(out: &mut String, notice: &Notice, cut: Cut) {
    let event = &notice.event;
    let plain = |text: &str| plain(text, cut.chars);
    let _ = write!(
        out,
        "\nEvent {} ({}, {}",
        plain(&notice.event_id),
        plain(&event.source),
        plain(&event.detail_type)
    );
    if let Some(time) = &event.time {
        let _ = write!(out, ", {}", plain(time));
    }
    let _ = writeln!(out, ")");
    let _ = write!(out, "Notice {}, mode {}", plain(&notice.id), notice.mode.as_str());
    if let Some(evaluation) = &notice.evaluation {
        let _ = write!(out, ", rule {}", plain(&evaluation.rule));
    }
    out.push('\n');
}
