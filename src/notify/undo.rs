//! How people undo a quarantine, for notices.
//!
//! A person asks the worker by one command, and it gives the tags back if the image is within the
//! policy or held. If the worker takes no requests, people do it by hand, and then the order
//! matters: first comes an exception for the digest, then the tags. A tag that is restored before
//! the exception is in force is removed again, because ECR sends an event for the new tag and the
//! worker evaluates the image once more. The commands are in the documentation ([`PAGE`]) and take
//! only what every notice has.

use std::time::Duration;

use super::{Advice, Notice, WayBack};
use crate::domain::names::{Digest, Repository};
use crate::domain::notice::NoticeAction;
use crate::domain::text::DOCS;
use crate::event::restore::{RestoreAction, RestoreOrder};

/// The page of the documentation with the commands.
const PAGE: &str = "undo.md";

/// The steps that undo a removal of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// The way.
    pub(super) way: WayBack,
    /// The command that asks the worker to give the tags back, if the worker takes requests.
    pub(super) command: Option<String>,
    /// The body of a message that asks the same, without a hold.
    pub(super) message: Option<String>,
    /// The exception as a configuration file in TOML writes it. The values that a person has to
    /// fill in are empty, so that the worker refuses to start with them.
    pub(super) exception: String,
    /// The page of the documentation that says how the tags are put back.
    pub(super) page: String,
}

impl Undo {
    /// Returns the steps that undo the removals of this notice, or after all give back the tags of
    /// a refused request. Returns `None` if no tag was removed or the image is not kept.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        let way = way(notice)?;
        let is_removal = notice.answer.is_none();
        Some(Self {
            way,
            command: command(notice, way),
            message: command(notice, way).filter(|_| is_removal).map(|_| message(notice)),
            exception: exception(notice),
            page: format!("{DOCS}/{PAGE}"),
        })
    }
}

fn way(notice: &Notice) -> Option<WayBack> {
    if let Some(answer) = &notice.answer {
        return match answer.refusal.as_ref()?.advice {
            Advice::AskForHold => Some(notice.way_back),
            Advice::ByHand => Some(WayBack::ByHand),
            Advice::AskSomebodyElse | Advice::AskAgain | Advice::AskOtherwise | Advice::Nothing => {
                None
            }
        };
    }
    let tags = &notice.tags;
    let is_removed = !tags.untagged.is_empty() || !tags.claimed.is_empty();
    let is_kept = tags.quarantine.is_some() && notice.action != NoticeAction::Deleted;
    (is_removed && is_kept).then_some(notice.way_back)
}

/// Returns the command with the name by which the image can be pulled, because that says the
/// account and the Region too.
fn command(notice: &Notice, way: WayBack) -> Option<String> {
    let Notice { repository, digest, .. } = notice;
    match way {
        WayBack::Restore { longest_hold: Some(longest) } => {
            Some(hold_command(repository, digest, longest))
        }
        WayBack::Restore { longest_hold: None } => Some(restore_command(repository, digest)),
        WayBack::ByHand | WayBack::RecordsOff | WayBack::NoRoom => None,
    }
}

fn restore_command(repository: &Repository, digest: &Digest) -> String {
    format!("tagwarden restore {}", repository.pull_name(digest))
}

/// Returns the command that asks for a hold of three days, or for a shorter one if holds may not be
/// so long. People have to fill in only why, and who answers for it.
#[must_use]
pub(crate) fn hold_command(repository: &Repository, digest: &Digest, longest: Duration) -> String {
    let command = restore_command(repository, digest);
    let until = in_units(usual_hold(longest));
    format!("{command} --until {until} --reason \"...\" --owner \"...\"")
}

/// The hold that commands ask for.
const USUAL_HOLD: Duration = Duration::from_secs(3 * DAY);
const DAY: u64 = 24 * HOUR;
const HOUR: u64 = 3600;

/// Returns the length of a hold that is granted if holds may be so long. The worker counts it from
/// the queue's time, so the longest one would fail if the asker's clock is ahead.
fn usual_hold(longest: Duration) -> Duration {
    if longest > USUAL_HOLD { USUAL_HOLD } else { Duration::from_secs(longest.as_secs() / 24 * 23) }
}

fn in_units(of: Duration) -> String {
    match of.as_secs() {
        seconds if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        seconds if seconds.is_multiple_of(HOUR) => format!("{}h", seconds / HOUR),
        seconds => format!("{seconds}s"),
    }
}

/// Returns the command that says why an image violates the policy and what was done to it, if the
/// notice leaves that open and the image is kept.
pub(super) fn explain_command(notice: &Notice) -> Option<String> {
    let is_gone = notice.action == NoticeAction::Deleted;
    let image = notice.repository.pull_name(&notice.digest);
    (!is_gone).then(|| format!("tagwarden explain {image}"))
}

fn message(notice: &Notice) -> String {
    let order = RestoreOrder {
        request: None,
        repository: notice.repository.clone(),
        digest: notice.digest.clone(),
        action: RestoreAction::GiveBack { tags: None },
    };
    order.body()
}

fn exception(notice: &Notice) -> String {
    format!(
        "[[policy.exceptions]]\n\
         digest = \"{}\"\n\
         repositories = [\"{}\"]\n\
         reason = \"\"   # FILL IN: why it is accepted\n\
         owner = \"\"    # FILL IN: who answers for it\n\
         expires = \"\"  # FILL IN: the day from which it no longer applies, such as 2030-12-31",
        notice.digest, notice.repository.name
    )
}

#[cfg(test)]
mod tests;
