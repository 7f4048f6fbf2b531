//! The paging that ECR's lists share.

use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::invalid;
use crate::api::{ApiError, Input};

/// Which page of a list is asked for. The token holds the key of the last row of the page before, so that a page
/// neither repeats nor skips rows when others come or go meanwhile.
pub(super) struct Page {
    after: Option<String>,
    max: usize,
}

impl Page {
    /// Reads `maxResults` and `nextToken`.
    pub(super) fn of(input: &Value) -> Result<Self, ApiError> {
        Self::with_max(input, max_results(input)?)
    }

    /// The same for a list of smaller pages: so many rows if `maxResults` is not given, and so many at most.
    pub(super) fn small(input: &Value, usual: usize, most: i64) -> Result<Self, ApiError> {
        Self::with_max(input, max_results_up_to(input, usual, most)?)
    }

    fn with_max(input: &Value, max: usize) -> Result<Self, ApiError> {
        Ok(Self { after: input.text("nextToken").map(read_token).transpose()?, max })
    }

    /// The key of the last row of the page before.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Where the page begins in a map that has the rows' keys.
    pub(super) fn start(&self) -> Bound<&str> {
        self.after().map_or(Bound::Unbounded, Bound::Excluded)
    }

    /// The page, of rows in order of their key. Rows of the page before may be among them; only the rows of this one
    /// are rendered.
    pub(super) fn reply<R>(
        &self,
        member: &str,
        rows: impl Iterator<Item = (String, R)>,
        render: impl Fn(R) -> Value,
    ) -> Value {
        let seen = |key: &String| self.after().is_some_and(|after| key.as_str() <= after);
        let mut rows = rows.skip_while(|(key, _)| seen(key)).peekable();
        let mut last = None;
        let mut values = Vec::new();
        while values.len() < self.max
            && let Some((key, row)) = rows.next()
        {
            last = Some(key);
            values.push(render(row));
        }
        let mut reply = Map::new();
        reply.insert(member.to_owned(), Value::Array(values));
        if rows.peek().is_some() {
            reply.insert("nextToken".to_owned(), json!(write_token(&last.unwrap_or_default())));
        }
        Value::Object(reply)
    }
}

/// `maxResults`: 100 if it is not given.
pub(super) fn max_results(input: &Value) -> Result<usize, ApiError> {
    max_results_up_to(input, 100, 1000)
}

fn max_results_up_to(input: &Value, usual: usize, most: i64) -> Result<usize, ApiError> {
    match input.int("maxResults") {
        None => Ok(usual),
        Some(max) if (1..=most).contains(&max) => Ok(usize::try_from(max).unwrap_or(usual)),
        Some(_) => {
            Err(invalid(format!("Invalid parameter at 'maxResults': must be between 1 and {most}")))
        }
    }
}

pub(super) fn write_token(text: &str) -> String {
    STANDARD.encode(text)
}

pub(super) fn read_token(token: &str) -> Result<String, ApiError> {
    let decoded = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| invalid("Invalid parameter at 'nextToken' failed to satisfy constraint"))
}
