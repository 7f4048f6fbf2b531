//! How people undo a quarantine, for notices.
//!
//! The order matters. First comes an exception for the digest, then the tags. A tag that is
//! restored before the exception is in force is removed again, because ECR sends an event for the
//! new tag and the worker evaluates the image once more. The commands are in the documentation
//! ([`PAGE`]) and take only what every notice has.

use super::{Notice, WayBack};
use crate::domain::notice::NoticeAction;
use crate::domain::text::DOCS;

/// The page of the documentation with the commands.
const PAGE: &str = "undo.md";

/// The steps that undo a removal of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// The command that asks the worker to give the tags back, if the worker takes requests.
    pub(super) command: Option<String>,
    /// The exception as a configuration file in TOML writes it. The values that a person has to
    /// fill in are empty, so that the worker refuses to start with them.
    pub(super) exception: String,
    /// The page of the documentation that says how the tags are put back.
    pub(super) page: String,
}

impl Undo {
    /// Returns the steps that undo the removals of this notice. Returns `None` if no tag was
    /// removed or the image is not kept.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        let tags = &notice.tags;
        let is_removed = !tags.untagged.is_empty() || !tags.claimed.is_empty();
        let is_kept = tags.quarantine.is_some() && notice.action != NoticeAction::Deleted;
        (is_removed && is_kept).then(|| Self {
            command: command(notice),
            exception: exception(notice),
            page: format!("{DOCS}/{PAGE}"),
        })
    }
}

/// Returns the command with the name by which the image can be pulled, because that says the
/// account and the Region too.
fn command(notice: &Notice) -> Option<String> {
    let hold = match notice.way_back {
        WayBack::Restore { holds: true } => " --until DATE --reason TEXT --owner WHO",
        WayBack::Restore { holds: false } => "",
        WayBack::ByHand | WayBack::RecordsOff | WayBack::NoRoom => return None,
    };
    let image = notice.repository.pull_name(&notice.digest);
    Some(format!("tagwarden restore {image}{hold}"))
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
