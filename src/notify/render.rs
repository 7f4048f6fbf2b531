//! Renders a notice in each of its formats: `text` for mail, `json` for programs and `chat` for
//! channels.
//!
//! SNS refuses a message that is too large. So each format is rendered with ever shorter lists and
//! texts until it fits, and a cut list says how much is missing.

mod announcement;
mod answer;
mod chat;
mod document;
mod fixes;
mod subject;
mod summary;
mod text;
mod words;

use std::collections::BTreeMap;

pub(crate) use self::announcement::Announcement;
use super::Notice;
use crate::notify::NoticeFormat;

/// The maximum size of a body. SNS takes 262,144 bytes, attributes included (SNS API reference,
/// Publish).
const MAX_BYTES: usize = 256_000;

/// What the notices of a topic say besides what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audience<'a> {
    /// Whom the readers can ask.
    pub contact: Option<&'a str>,
    /// The URL of the queue to which requests to give tags back are sent.
    pub queue: Option<&'a str>,
}

/// The amount of a notice that is shown.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The maximum number of items of each list.
    items: usize,
    /// The maximum number of characters of each text that is not ours.
    chars: usize,
    /// Whether the list of removed tags is whole, because nothing else has it.
    whole_tags: bool,
}

impl Cut {
    /// From everything to an amount that is small enough for any notice.
    const STEPS: [Self; 4] =
        [Self::to(usize::MAX, usize::MAX), Self::to(100, 1000), Self::to(20, 200), Self::to(3, 50)];

    const fn to(items: usize, chars: usize) -> Self {
        Self { items, chars, whole_tags: false }
    }

    fn at_most(self, items: usize, chars: usize) -> Self {
        Self { items: self.items.min(items), chars: self.chars.min(chars), ..self }
    }

    /// Returns the maximum number of removed tags.
    fn removed_tags(self) -> usize {
        if self.whole_tags { usize::MAX } else { self.items }
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

/// Renders a notice for its readers. Lists and texts that would make it too large are cut, and the
/// notice says so.
#[must_use]
pub fn render(notice: &Notice, format: NoticeFormat, audience: Audience<'_>) -> Rendered {
    let contact = audience.contact;
    let body = |cut: Cut| match format {
        NoticeFormat::Text => text::text(notice, contact, cut),
        NoticeFormat::Json => document::document(notice, contact, cut).to_string(),
        NoticeFormat::Chat => chat::chat(notice, audience).to_string(),
    };
    // An image has at most 1,000 tags of 128 characters, which leave room for a notice that is cut.
    let whole_tags = notice.way_back.is_unrecorded();
    let keeping = Cut::STEPS.map(|cut| Cut { whole_tags, ..cut });
    let mut bodies = keeping.into_iter().chain(Cut::STEPS).map(body);
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
