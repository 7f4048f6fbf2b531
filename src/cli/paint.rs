//! Colours the verdicts in a text, so that the eye finds what has to be done. Colour is never the
//! only sign: the words stand without it.

use anstyle::{AnsiColor, Style};

/// The beginnings of verdicts, with their colours. The first that fits counts.
const VERDICTS: [(&str, AnsiColor); 22] = [
    ("untag", AnsiColor::Red),
    ("failed", AnsiColor::Red),
    ("refused", AnsiColor::Red),
    ("not sent", AnsiColor::Red),
    ("would untag", AnsiColor::Yellow),
    ("no answer yet", AnsiColor::Yellow),
    ("left alone", AnsiColor::Yellow),
    ("blocked", AnsiColor::Yellow),
    ("held", AnsiColor::Yellow),
    ("unscanned", AnsiColor::Yellow),
    ("absent", AnsiColor::Yellow),
    ("unknown", AnsiColor::Yellow),
    ("wait", AnsiColor::Yellow),
    ("left to its scan", AnsiColor::Yellow),
    ("keep", AnsiColor::Green),
    ("clean", AnsiColor::Green),
    ("already quarantined", AnsiColor::Green),
    ("quarantined", AnsiColor::Green),
    ("done before", AnsiColor::Green),
    ("restored", AnsiColor::Green),
    ("there by now", AnsiColor::Green),
    ("hold ended", AnsiColor::Green),
];

/// Colours the verdict of each line: what follows the label `verdict`, or the last column of a
/// table.
pub(super) fn verdicts(text: &str) -> String {
    let mut painted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        match verdict_at(line).and_then(|at| line.split_at_checked(at)) {
            Some((before, verdict)) => match style_of(verdict) {
                Some(style) => {
                    painted.push_str(&format!("{before}{style}{verdict}{style:#}{end}"));
                }
                None => painted.extend([line, end]),
            },
            None => painted.extend([line, end]),
        }
    }
    painted
}

/// Returns where the verdict of a line begins.
fn verdict_at(line: &str) -> Option<usize> {
    let label = line.trim_start().strip_prefix("verdict ");
    if let Some(verdict) = label.map(str::trim_start) {
        return Some(line.len() - verdict.len());
    }
    Some(line.rfind("  ")? + 2)
}

fn style_of(verdict: &str) -> Option<Style> {
    let fits = |word: &str| {
        let rest = verdict.strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ',']))
    };
    let colour = VERDICTS.into_iter().find(|(word, _)| fits(word)).map(|(_, colour)| colour)?;
    Some(Style::new().fg_color(Some(colour.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_coloured_and_other_texts_are_not() {
        for (line, coloured) in [
            ("verdict    untag", Some("untag")),
            ("  verdict    keep: no limit is exceeded", Some("keep: no limit is exceeded")),
            ("team/app  045416244822  1.0  3d  untag", Some("untag")),
            ("team/app  045416244822  1.0  3d  blocked", Some("blocked")),
            ("team/untag  1.0  3d  untagged by hand", None),
            ("untag", None),
            ("note       quarantined; pull by digest still works:", None),
            ("", None),
        ] {
            let painted = verdicts(&format!("{line}\n"));
            let expected = match coloured {
                Some(verdict) => {
                    let (before, _) = line.split_at(line.len() - verdict.len());
                    let code = painted.split('\u{1b}').nth(1).unwrap().split_once('m').unwrap().0;
                    format!("{before}\u{1b}{code}m{verdict}\u{1b}[0m\n")
                }
                None => format!("{line}\n"),
            };
            assert_eq!(painted, expected);
        }
    }
}
