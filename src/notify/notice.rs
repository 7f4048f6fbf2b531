//! What a notice says.

use sha2::{Digest as _, Sha256};

use crate::domain::evaluation::Evaluation;
use crate::domain::findings::SeverityCounts;
use crate::domain::image_index::Child;
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::notice::NoticeAction;
use crate::domain::origin::Origin;
use crate::domain::policy::{Fingerprint, Mode};
use crate::domain::text::hex;
use crate::notify::{RestoreAnswer, WayBack};

/// The tags of the image, grouped by what happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeTags {
    /// Removed by this pass.
    pub untagged: Vec<Tag>,
    /// Named by the event but not on the image when this pass began. Most likely an earlier pass
    /// removed them and ended before it could notify.
    pub claimed: Vec<Tag>,
    /// Still on the image.
    pub kept: Vec<Tag>,
    /// Kept only because of audit mode.
    pub would_untag: Vec<Tag>,
    /// The quarantine tag that keeps the image.
    pub quarantine: Option<Tag>,
}

/// The content of a notice, before it is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same id each time that the same thing is reported.
    pub id: String,
    /// The reason for the notice.
    pub action: NoticeAction,
    /// The mode of the policy.
    pub mode: Mode,
    /// The fingerprint of the policy by which the image was judged.
    pub policy: Fingerprint,
    /// The repository of the image.
    pub repository: Repository,
    /// The image whose tags were, or would be, removed.
    pub digest: Digest,
    /// The media type of its manifest, if the registry gives one.
    pub media_type: Option<String>,
    /// The vulnerable child, if the image is an index.
    pub cause: Option<Child>,
    /// Its tags.
    pub tags: NoticeTags,
    /// How the tags that were removed can be given back.
    pub way_back: WayBack,
    /// The answer to a request, if the notice is one: its action is `Restored` or `Refused`.
    pub answer: Option<Box<RestoreAnswer>>,
    /// Number of findings by severity.
    pub counts: SeverityCounts,
    /// The reasons in words; exceeded limits come first.
    pub reasons: Vec<String>,
    /// The evaluation, if the policy made one: the rule, the worst severity that exceeds its limit
    /// and the findings that count.
    pub evaluation: Option<Evaluation>,
    /// The event that led to this notice.
    pub event: Origin,
    /// The id of the event, or of the message if the event has none.
    pub event_id: String,
}

/// Returns the id of the notice about one image and one event. It does not depend on when or how
/// often the notice is sent.
#[must_use]
pub fn notice_id(repository: &Repository, digest: &Digest, event_id: &str) -> String {
    id_of([
        repository.account.as_str(),
        repository.region.as_str(),
        repository.name.as_str(),
        digest.as_str(),
        event_id,
    ])
}

/// Returns the id that these parts make together.
pub(crate) fn id_of<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_ref().as_bytes());
        // No part contains a zero byte, so two different lists never have the same bytes.
        hash.update([0]);
    }
    hex(&hash.finalize())
}
