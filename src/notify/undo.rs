//! How people take a quarantine back, in the order that holds: a tag that is put back before the exception is in force
//! is taken again, because ECR tells of the tag and the worker judges the image once more.

use std::fmt::Write as _;

use crate::domain::image::Tag;
use crate::domain::notice::NoticeAction;

use super::Notice;

/// Mail servers may break lines of over 998 bytes (RFC 5321, 4.5.3.1.6); people prefer far less.
const WIDTH: usize = 100;

/// What it takes to undo what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// The exception as a configuration file in TOML writes it. What a person has to fill in is empty, so that the worker
    /// refuses to start on it as it is.
    pub(super) exception: String,
    /// The commands that give the tags back, for any shell with POSIX syntax. They hold no `&`, `<`, `>`, `@` or
    /// backtick besides `"$@"`, so that chat shows them as they are.
    pub(super) command: String,
    /// How many tags the command leaves out.
    pub(super) left_out: usize,
}

impl Undo {
    /// How to undo what this notice tells, with at most so many tags in the command. `None` where there is nothing to
    /// undo, or no way to.
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
         expires = \"\"  # FILL IN: the day from which it counts no more, such as 2030-12-31",
        notice.digest, notice.repository.name
    )
}

/// The AWS command line's way to retag (ECR user guide, "Retagging an image"). Names and tags are of alphabets that a
/// shell leaves alone. A shell drops every line end from the end of an answer, and a manifest may end in one: the dot
/// keeps them, and only the one that the AWS command line adds is taken off again. A tag that was pushed anew in the meantime stays where it is: put-image would move it back.
fn command(notice: &Notice, quarantine: &Tag, tags: &[&Tag]) -> String {
    let repository = &notice.repository;
    // No media type is longer (RFC 6838, section 4.2), and nothing here is cut to fit.
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

/// Words of a shell command, broken into lines.
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
