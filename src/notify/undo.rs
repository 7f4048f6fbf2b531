//! The steps by which people undo a quarantine, for notices.
//!
//! The order matters. First comes an exception for the digest, then the tags. A tag that is
//! restored before the exception is in force is removed again, because ECR sends an event for the
//! new tag and the worker evaluates the image once more.

use std::fmt::Write as _;

use crate::domain::names::Tag;
use crate::domain::notice::NoticeAction;

use super::Notice;

/// The preferred length of a line. Mail servers may break lines of more than 998 bytes (RFC 5321,
/// 4.5.3.1.6); people prefer far shorter ones.
const WIDTH: usize = 100;

/// The two parts that undo a removal of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// The exception as a configuration file in TOML writes it. The values that a person has to
    /// fill in are empty, so that the worker refuses to start with them.
    pub(super) exception: String,
    /// The commands that restore the tags, for any shell with POSIX syntax. They contain no `&`,
    /// `<`, `>`, `@` or backtick besides `"$@"`, so that chat shows them unchanged.
    pub(super) command: String,
    /// The number of tags that the command leaves out.
    pub(super) left_out: usize,
}

impl Undo {
    /// Returns the steps that undo the removals of this notice, with at most `most` tags in the
    /// command. Returns `None` if no tag was removed or the image is not kept.
    pub(super) fn of(notice: &Notice, most: usize) -> Option<Self> {
        let tags: Vec<_> = notice.tags.untagged.iter().chain(&notice.tags.claimed).collect();
        let quarantine = notice.tags.quarantine.as_ref()?;
        if tags.is_empty() || notice.action == NoticeAction::Deleted {
            return None;
        }
        let left_out = tags.len().saturating_sub(most);
        let named: Vec<_> = tags.into_iter().take(most).collect();
        Some(Self {
            exception: exception(notice),
            command: command(notice, quarantine, &named),
            left_out,
        })
    }
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

/// Returns commands of the AWS command line that put the tags back (ECR user guide, "Retagging an
/// image").
///
/// Names and tags need no quotes, because a shell does not interpret any character of their
/// alphabets. A shell drops every line end at the end of an answer, and a manifest may end in one.
/// So a dot is added to the answer; at the end the dot and the one line end of the AWS command line
/// are cut off. A tag that was pushed again in the meantime stays where it is, because put-image
/// would move it.
fn command(notice: &Notice, quarantine: &Tag, tags: &[&Tag]) -> String {
    let repository = &notice.repository;
    // No media type is longer (RFC 6838, section 4.2). A longer one is left out, because the
    // commands cannot be cut to fit.
    let harmless = |text: &&String| {
        text.len() <= 255
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./+-".contains(&byte))
    };
    let media_type = notice.media_type.as_ref().filter(harmless);
    let accept =
        media_type.map(|of| format!(" \\\n  --accepted-media-types {of}")).unwrap_or_default();
    let put = media_type
        .map(|of| format!(" \\\n      --image-manifest-media-type {of}"))
        .unwrap_or_default();
    format!(
        "(
ecr() {{
  aws ecr \"$@\" --registry-id {account} --region {region} \\
    --repository-name {name}
}}
MANIFEST=$(ecr batch-get-image --image-ids imageTag={quarantine} \\
  --query 'images[0].imageManifest' --output text{accept} || exit; echo .) || exit
MANIFEST=${{MANIFEST%?.}}
for TAG in{tags}
do
  FOUND=$(ecr batch-get-image --image-ids \"imageTag=$TAG\" \\
    --query 'failures[0].failureCode' --output text)
  if [ \"$FOUND\" = ImageNotFound ]
  then
    ecr put-image --image-tag \"$TAG\" --image-manifest \"$MANIFEST\" \\
      --image-digest {digest}{put} \\
      --query image.imageId.imageTag --output text
  else
    echo \"$TAG is left alone: it is in use again, or cannot be read\"
  fi
done
)",
        account = repository.account,
        region = repository.region,
        name = repository.name,
        digest = notice.digest,
        tags = wrapped(tags),
    )
}

/// Returns the tags as words of a shell command, broken into lines.
fn wrapped(tags: &[&Tag]) -> String {
    let mut out = String::new();
    let mut column = "for TAG in".len();
    for tag in tags {
        let length = 1 + tag.as_str().len();
        if column + length > WIDTH {
            out.push_str(" \\\n ");
            column = 1;
        }
        let _ = write!(out, " {tag}");
        column += length;
    }
    out
}

#[cfg(test)]
mod tests;
