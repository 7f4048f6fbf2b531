//! The registry's answer to the removal of tags, compared with the request.
//!
//! Invariant 3: ECR removes a tag only if it still points to the digest that was judged;
//! ImageTagDoesNotMatchDigest means that somebody has moved the tag, and is a success. Invariant 5:
//! an answer that names anything else than the requested tags of that image is an over-reach, which
//! stops all further removals (`enforce`).
//!
//! ImageNotFound for a tag that was read a moment ago most likely means that an earlier attempt of
//! the same call removed it: the SDK repeats a call whose answer was lost, and the second attempt
//! finds the tag gone. [`Untagged::absent`] keeps these tags apart, and the caller counts them as
//! removed by us if it has just read them. To take them for "somebody else did it" would remove
//! tags without a notice.

use super::names::{Digest, Tag};

/// One image id in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredId {
    /// The tag, if the answer names one.
    pub tag: Option<String>,
    /// The digest, if the answer names one.
    pub digest: Option<String>,
}

/// One failure in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnsweredFailure {
    /// The tag that failed; `None` if the failure concerns the whole image.
    pub tag: Option<String>,
    /// ECR's `ImageFailureCode`.
    pub code: String,
    /// ECR's reason.
    pub reason: String,
}

/// An answer of BatchDeleteImage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The image ids that were removed.
    pub deleted: Vec<AnsweredId>,
    /// The image ids that were not removed.
    pub failures: Vec<AnsweredFailure>,
}

/// The reason why a tag was not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFailure {
    /// A later attempt may succeed.
    Retry(String),
    /// AWS refuses the removal, until somebody changes a permission or a key.
    Refused(String),
    /// The tag cannot be removed, because an index holds the image.
    Blocked(String),
}

/// The result of a removal. Each requested tag is in exactly one of the lists before `beyond`,
/// which holds everything else that the registry removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untagged {
    /// Tags that this call removed.
    pub gone: Vec<Tag>,
    /// Tags that point to another image now, because somebody has moved them.
    pub moved: Vec<Tag>,
    /// Tags that did not exist at the time of the call. A tag that was read just before was most
    /// likely removed by an earlier attempt of this call, whose answer was lost.
    pub absent: Vec<Tag>,
    /// Tags that this call did not remove, and the reason. An earlier attempt of it may have.
    pub failed: Vec<(Tag, TagFailure)>,
    /// Tags that the answer does not mention.
    pub unanswered: Vec<Tag>,
    /// The over-reach: image ids that were removed without having been requested.
    pub beyond: Vec<AnsweredId>,
}

impl Untagged {
    /// Adds the result of another call.
    pub fn absorb(&mut self, other: Self) {
        self.gone.extend(other.gone);
        self.moved.extend(other.moved);
        self.absent.extend(other.absent);
        self.failed.extend(other.failed);
        self.unanswered.extend(other.unanswered);
        self.beyond.extend(other.beyond);
    }
}

/// Compares an answer with the request, which is to remove these tags of the image with this digest
/// and nothing else.
#[must_use]
pub(crate) fn reconcile(digest: &Digest, requested: &[Tag], answer: Answer) -> Untagged {
    let mut result = Untagged::default();
    let asked = |id: &AnsweredId| {
        let tag = requested.iter().find(|tag| id.tag.as_deref() == Some(tag.as_str()))?;
        id.digest.as_deref().is_none_or(|answered| answered == digest.as_str()).then_some(tag)
    };
    for id in answer.deleted {
        match asked(&id) {
            Some(tag) if result.gone.contains(tag) => {}
            Some(tag) => result.gone.push(tag.clone()),
            None => result.beyond.push(id),
        }
    }
    for tag in requested.iter().filter(|tag| !result.gone.contains(tag)) {
        let failure = answer
            .failures
            .iter()
            .find(|failure| failure.tag.as_deref() == Some(tag.as_str()))
            // A failure without a tag concerns the whole image, so it applies to every tag.
            .or_else(|| answer.failures.iter().find(|failure| failure.tag.is_none()));
        let Some(failure) = failure else {
            result.unanswered.push(tag.clone());
            continue;
        };
        let text = format!("{}: {}", failure.code, failure.reason);
        let failed = match failure.code.as_str() {
            "ImageTagDoesNotMatchDigest" => {
                result.moved.push(tag.clone());
                continue;
            }
            "ImageNotFound" => {
                result.absent.push(tag.clone());
                continue;
            }
            "ImageReferencedByManifestList" => TagFailure::Blocked(text),
            // Usually only people can repair a key. If KMS itself has failed, a longer wait loses
            // nothing.
            "UpstreamAccessDenied" | "KmsError" => TagFailure::Refused(text),
            _ => TagFailure::Retry(text),
        };
        result.failed.push((tag.clone(), failed));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    fn tags(list: &[&str]) -> Vec<Tag> {
        list.iter().map(|tag| Tag::parse(*tag).unwrap()).collect()
    }

    fn id(tag: Option<&str>, digest: Option<&Digest>) -> AnsweredId {
        AnsweredId { tag: tag.map(str::to_owned), digest: digest.map(ToString::to_string) }
    }

    fn failure(tag: Option<&str>, code: &str) -> AnsweredFailure {
        AnsweredFailure { tag: tag.map(str::to_owned), code: code.to_owned(), reason: "why".into() }
    }

    #[test]
    fn each_requested_tag_is_in_exactly_one_list() {
        let d = digest('a');
        let requested = tags(&["gone", "moved", "absent", "held", "odd", "kms", "silent"]);
        let answer = Answer {
            deleted: vec![id(Some("gone"), Some(&d)), id(Some("gone"), Some(&d))],
            failures: vec![
                failure(Some("moved"), "ImageTagDoesNotMatchDigest"),
                failure(Some("absent"), "ImageNotFound"),
                failure(Some("held"), "ImageReferencedByManifestList"),
                failure(Some("odd"), "UpstreamUnavailable"),
                failure(Some("kms"), "KmsError"),
            ],
        };
        let result = reconcile(&d, &requested, answer);
        assert_eq!(result.gone, tags(&["gone"]));
        assert_eq!(result.moved, tags(&["moved"]));
        assert_eq!(result.absent, tags(&["absent"]));
        assert_eq!(result.unanswered, tags(&["silent"]));
        assert_eq!(result.beyond, []);
        let failed: Vec<_> = result.failed.iter().map(|(_, failure)| failure).collect();
        assert!(matches!(
            failed[..],
            [TagFailure::Blocked(_), TagFailure::Retry(_), TagFailure::Refused(_)]
        ));
    }

    #[test]
    fn unrequested_tag_digest_or_image_is_an_over_reach() {
        let (d, other) = (digest('a'), digest('b'));
        let answer = Answer {
            deleted: vec![
                id(Some("a"), Some(&d)),
                id(Some("prod"), Some(&d)),
                id(Some("b"), Some(&other)),
                id(None, Some(&d)),
            ],
            failures: vec![],
        };
        let result = reconcile(&d, &tags(&["a", "b"]), answer.clone());
        assert_eq!(result.gone, tags(&["a"]));
        assert_eq!(result.beyond, answer.deleted[1..]);
    }

    #[test]
    fn failure_without_a_tag_applies_to_every_tag() {
        let answer = Answer { deleted: vec![], failures: vec![failure(None, "ImageNotFound")] };
        let result = reconcile(&digest('a'), &tags(&["a", "b"]), answer);
        assert_eq!(result.absent, tags(&["a", "b"]));
    }
}
