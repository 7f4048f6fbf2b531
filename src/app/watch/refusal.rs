//! The notice to the operators that a changed configuration file is refused.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use crate::config::ContentId;
use crate::domain::names::RegistryId;
use crate::domain::policy::Fingerprint;
use crate::domain::text::{escaped, start};
use crate::notify::render::Announcement;
use crate::notify::{Announced, Dispatcher, Notifier, id_of};

/// The pause after which operators are notified again if a topic did not accept the notice, and
/// after which topics that could not be reached are tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// The most problems that a notice lists, and the most characters of each.
const SHOWN: (usize, usize) = (20, 500);
/// The most problems that a notice in chat lists, and the most characters of each.
const IN_CHAT: (usize, usize) = (5, 200);

/// A content of the configuration file that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    content: ContentId,
    own: RegistryId,
    file: String,
    problems: Vec<String>,
    /// The fingerprint of the policy that stays in use.
    policy: Fingerprint,
    /// The topics that were notified.
    heard: BTreeSet<String>,
    /// When those that are left are notified; `None` if none is left.
    due: Option<Instant>,
}

impl Refusal {
    #[must_use]
    pub(super) fn new(
        content: ContentId,
        own: RegistryId,
        file: &Path,
        problems: Vec<String>,
        policy: Fingerprint,
    ) -> Self {
        let file = escaped(&file.display().to_string(), &[]).into_owned();
        let (heard, due) = (BTreeSet::new(), Some(Instant::now()));
        Self { content, own, file, problems, policy, heard, due }
    }

    /// Returns the content that was refused.
    #[must_use]
    pub(super) fn content(&self) -> ContentId {
        self.content
    }

    /// Notifies those topics of which nobody knows that they have the notice, if it is time.
    pub(super) async fn announce<N: Notifier>(&mut self, dispatcher: &Dispatcher<N>) {
        if self.due.is_none_or(|due| Instant::now() < due) {
            return;
        }
        let heard = self.heard.clone();
        let Announced { heard, result } = dispatcher.announce(&*self, heard).await;
        self.heard = heard;
        self.due = result.is_err().then(|| Instant::now() + AGAIN);
        if let Err(error) = result {
            warn!(%error, "operators are not notified yet that the configuration file is refused");
        }
    }

    fn headline(&self) -> &'static str {
        "The configuration file was changed, and the new one cannot be used. Nothing of it is in \
         use: images are judged by the policy of before. A worker that starts now would fail, or \
         use what this worker refuses."
    }

    fn lines(&self, (most, chars): (usize, usize)) -> Vec<String> {
        let line = |problem: &String| escaped(&start(problem, chars), &[]).into_owned();
        let mut lines: Vec<_> = self.problems.iter().take(most).map(line).collect();
        if let Some(more @ 1..) = self.problems.len().checked_sub(most) {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

impl Announcement for Refusal {
    const ACTION: &'static str = "config_refused";
    const THREAD: &'static str = "configuration";

    /// The same for the same content in the same registry.
    fn id(&self) -> String {
        let RegistryId { account, region } = &self.own;
        id_of([account.as_str(), region.as_str(), Self::ACTION, &self.content.to_string()])
    }

    fn registry_id(&self) -> &RegistryId {
        &self.own
    }

    fn subject(&self) -> String {
        let RegistryId { account, region } = &self.own;
        format!("tagwarden in {account} {region}: the changed configuration file is refused")
    }

    fn text(&self, contact: Option<&str>) -> String {
        let RegistryId { account, region } = &self.own;
        let mut out = format!("{}\n\nWhy:\n", self.headline());
        for line in self.lines(SHOWN) {
            let _ = writeln!(out, "  {line}");
        }
        let _ = writeln!(
            out,
            "\nWhat to do: correct the file, or put the one of before in its place; `tagwarden \
             check FILE` shows each mistake with its line.\n\n\
             File: {}\nRegistry: {account}, {region}\nPolicy in use: {}",
            self.file,
            self.policy.as_str()
        );
        if let Some(contact) = contact {
            let _ = writeln!(out, "Ask: {}", escaped(contact, &[]));
        }
        let _ = writeln!(out, "\nNotice {}", self.id());
        out
    }

    fn document(&self, contact: Option<&str>) -> Value {
        json!({
            "schema": "tagwarden.config/1",
            "id": self.id(),
            "action": Self::ACTION,
            "summary": self.subject(),
            "account": self.own.account.as_str(),
            "region": self.own.region.as_str(),
            "file": self.file,
            "problems": self.lines(SHOWN),
            "policy": self.policy.as_str(),
            "contact": contact,
        })
    }

    fn title(&self) -> String {
        let RegistryId { account, region } = &self.own;
        format!(":warning: Configuration refused in {account} {region}")
    }

    fn description(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for line in self.lines(IN_CHAT) {
            // No problem can end the code.
            let _ = writeln!(text, "• `{}`", line.replace('`', "'"));
        }
        let _ = writeln!(text, "*Policy in use:* {}", self.policy);
        text
    }
}
