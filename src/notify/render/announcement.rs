//! What is announced about a registry as a whole and not about one image, such as the summary of a
//! sweep, in each format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Rendered;
use super::chat::trusted;
use crate::domain::names::RegistryId;
use crate::notify::NoticeFormat;

/// Something that is announced about a registry. What it says is its own; how that becomes a
/// message is the same for all.
pub(crate) trait Announcement {
    /// The word for it in attributes and in chat.
    const ACTION: &'static str;
    /// The word with which its thread in chat begins.
    const THREAD: &'static str;

    /// Returns the id by which a receiver recognizes a copy.
    fn id(&self) -> String;

    /// Returns the registry that it is about.
    fn registry_id(&self) -> &RegistryId;

    /// Returns the subject of the e-mail.
    fn subject(&self) -> String;

    /// Returns the text for mail.
    fn text(&self, contact: Option<&str>) -> String;

    /// Returns the document for programs.
    fn document(&self, contact: Option<&str>) -> Value;

    /// Returns the title in chat.
    fn title(&self) -> String;

    /// Returns the lines in chat, without the contact.
    fn description(&self) -> String;

    /// Renders it in this format, with the contact that its readers can ask.
    fn render(&self, format: NoticeFormat, contact: Option<&str>) -> Rendered {
        let RegistryId { account, region } = self.registry_id();
        Rendered {
            subject: self.subject(),
            body: match format {
                NoticeFormat::Text => self.text(contact),
                NoticeFormat::Json => self.document(contact).to_string(),
                NoticeFormat::Chat => chat(self, contact).to_string(),
            },
            attributes: BTreeMap::from([
                ("action", Self::ACTION.to_owned()),
                ("account", account.to_string()),
                ("region", region.to_string()),
            ]),
        }
    }
}

fn chat<A: Announcement + ?Sized>(announcement: &A, contact: Option<&str>) -> Value {
    let RegistryId { account, region } = announcement.registry_id();
    let mut text = announcement.description();
    if let Some(contact) = contact {
        let _ = writeln!(text, "*Ask:* {}", trusted(contact));
    }
    json!({
        "version": "1.0",
        "source": "custom",
        "id": announcement.id(),
        "content": {
            "textType": "client-markdown",
            "title": announcement.title(),
            "description": text,
            "keywords": [A::ACTION],
        },
        "metadata": {
            "threadId": format!("{} {account} {region}", A::THREAD),
            "summary": announcement.subject(),
            "eventType": A::ACTION,
        },
    })
}
