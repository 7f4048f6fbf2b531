//! Reads JSON as a type. An error names the field and its line and column in the whole body, and
//! quotes nothing that the sender chose.

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};

use super::Malformed;
use crate::domain::coverage::Coverage;
use crate::domain::findings::Severity;

/// The longest key that an error names, in bytes. All keys of AWS and of ours are shorter.
const LONGEST_KEY: usize = 40;
/// The longest path that an error names, in bytes.
const LONGEST_PATH: usize = 120;

/// Reads a part of the body: all of it, or the text of the field `place`.
pub(super) fn read<'de, T: Deserialize<'de>>(
    place: &str,
    json: &'de str,
    body: &str,
) -> Result<T, Malformed> {
    serde_json::from_str(json).map_err(|error| {
        // Only a failed read is repeated to find the field, because tracking the path costs time
        // and nearly every message is valid.
        let mut reader = serde_json::Deserializer::from_str(json);
        let field = serde_path_to_error::deserialize::<_, T>(&mut reader)
            .err()
            .map(|error| path(error.path()))
            .unwrap_or_default();
        let place = format!("{place}{field}");
        let place = place.strip_prefix('.').unwrap_or(&place);
        let mut problem =
            Malformed::json("", &error).0.replace("expected u64", "expected a whole number");
        let within = format!(" at line {} column {}", error.line(), error.column());
        if let Some(start) = problem.strip_suffix(&within) {
            let (line, column) = position(&error, json, body);
            problem = format!("{start} at line {line} column {column}");
        }
        Malformed(if place.is_empty() { problem } else { format!("{place}: {problem}") })
    })
}

/// Returns the line and column of an error, counted from the beginning of the body.
fn position(error: &serde_json::Error, json: &str, body: &str) -> (usize, usize) {
    let (line, column) = (error.line(), error.column());
    let before = json.as_ptr().addr().checked_sub(body.as_ptr().addr());
    // A text that is not a part of the body, such as an unescaped string, has positions of its own.
    let Some(before) = before.and_then(|offset| body.get(..offset)) else { return (line, column) };
    let lines = before.matches('\n').count();
    let of_its_line = before.rsplit('\n').next().map_or(0, str::len);
    (lines + line, if line == 1 { of_its_line + column } else { column })
}

/// Fields whose members have keys that the sender chooses.
const MAPS: [&str; 3] = ["finding-severity-counts", "census", "repositories"];

/// Returns the names of the fields that lead to a value. The path ends before a key that is not a
/// known word, because the sender chose that key and it must not reach our logs.
fn path(path: &Path) -> String {
    let mut text = String::new();
    let mut is_in_a_map = false;
    for segment in path {
        let step = match segment {
            Segment::Seq { index } => format!("[{index}]"),
            Segment::Map { key } if is_in_a_map && !is_known(key) => break,
            Segment::Map { key } if is_word(key) => {
                is_in_a_map = MAPS.contains(&key.as_str());
                format!(".{key}")
            }
            _ => break,
        };
        if text.len() + step.len() > LONGEST_PATH {
            break;
        }
        text.push_str(&step);
    }
    text
}

fn is_known(key: &str) -> bool {
    key == "TOTAL" || Severity::from_word(key).is_some() || Coverage::from_word(key).is_some()
}

fn is_word(key: &str) -> bool {
    let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !key.is_empty() && key.len() <= LONGEST_KEY && key.chars().all(is_of_a_word)
}
