//! Renders a notice in each of its formats: `text` for mail, `json` for programs and `chat` for
//! channels.
//!
//! SNS refuses a message that is too large. So each format is rendered with ever shorter lists and
//! texts until it fits, and a cut list says how much is missing.

mod answer;
mod chat;
mod document;
mod fixes;
mod subject;
mod summary;
mod text;
mod words;

use std::collections::BTreeMap;

pub(crate) use self::chat::trusted;
use super::Notice;
use crate::notify::NoticeFormat;

/// The maximum size of a body. SNS takes 262,144 bytes, attributes included (SNS API reference,
/// Publish).
const MAX_BYTES: usize = 256_000;

/// The amount of a notice that is shown.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The maximum number of items of each list.
    items: usize,
    /// The maximum number of characters of each text that is not ours.
    chars: usize,
}

impl Cut {
    /// From everything to an amount that is small enough for any notice.
    const STEPS: [Self; 4] = [
        Self { items: usize::MAX, chars: usize::MAX },
        Self { items: 100, chars: 1000 },
        Self { items: 20, chars: 200 },
        Self { items: 3, chars: 50 },
    ];

    fn at_most(self, items: usize, chars: usize) -> Self {
        Self { items: self.items.min(items), chars: self.chars.min(chars) }
    }
}

/// A notice that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The subject of the e-mail: fewer than 100 printable ASCII characters.
    pub subject: String,
    /// The body of the message.
    pub body: String,
    /// The attributes for subscription filters. No value is empty.
    pub attributes: BTreeMap<&'static str, String>,
}

/// Renders a notice, with the contact that its readers can ask. Lists and texts that would make it
/// too large are cut, and the notice says so.
#[must_use]
pub fn render(notice: &Notice, format: NoticeFormat, contact: Option<&str>) -> Rendered {
    let body = |cut: Cut| match format {
        NoticeFormat::Text => text::text(notice, contact, cut),
        NoticeFormat::Json => document::document(notice, contact, cut).to_string(),
        NoticeFormat::Chat => chat::chat(notice, contact).to_string(),
    };
    let mut bodies = Cut::STEPS.into_iter().map(body);
    let mut smallest = String::new();
    let fitting = bodies.find_map(|body| {
        smallest = body;
        (smallest.len() <= MAX_BYTES).then(|| std::mem::take(&mut smallest))
    });
    Rendered {
        subject: subject::subject(notice),
        body: fitting.unwrap_or(smallest),
        attributes: attributes(notice),
    }
}

fn attributes(notice: &Notice) -> BTreeMap<&'static str, String> {
    let worst = notice.evaluation.as_ref().and_then(|evaluation| evaluation.severity);
    BTreeMap::from([
        ("action", notice.action.as_str().to_owned()),
        ("severity", worst.map_or("none", |severity| severity.as_key()).to_owned()),
        ("repository", notice.repository.name.to_string()),
        ("account", notice.repository.account.to_string()),
        ("region", notice.repository.region.to_string()),
    ])
}

#[cfg(test)]
mod tests;
