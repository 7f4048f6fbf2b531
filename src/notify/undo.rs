//! How people undo a quarantine, for notices.
//!
//! A person asks the worker by one command, and it gives the tags back if the image is within the
//! policy or held. If the worker takes no requests, people do it by hand, and then the order
//! matters: first comes an exception for the digest, then the tags. A tag that is restored before
//! the exception is in force is removed again, because ECR sends an event for the new tag and the
//! worker evaluates the image once more. The commands are in the documentation ([`PAGE`]) and take
//! only what every notice has.

use super::{Advice, Notice, WayBack};
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
            Advice::AskForHold => Some(WayBack::Restore { holds: true }),
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
    let hold = match way {
        WayBack::Restore { holds: true } => " --until DATE --reason TEXT --owner WHO",
        WayBack::Restore { holds: false } => "",
        WayBack::ByHand | WayBack::RecordsOff | WayBack::NoRoom => return None,
    };
    let image = notice.repository.pull_name(&notice.digest);
    Some(format!("tagwarden restore {image}{hold}"))
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
