//! The registry's answer to a delete, held against what was asked for.

use super::image::{Digest, Tag};

/// One image id of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredId {
    /// The tag, where the answer names one.
    pub tag: Option<String>,
    /// The digest, where the answer names one.
    pub digest: Option<String>,
}

/// One failure of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredFailure {
    /// The tag it is about.
    pub tag: Option<String>,
    /// ECR's `ImageFailureCode`.
    pub code: String,
    /// ECR's reason.
    pub reason: String,
}

/// What BatchDeleteImage answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it says is gone.
    pub deleted: Vec<AnsweredId>,
    /// What it says has failed.
    pub failures: Vec<AnsweredFailure>,
}

/// Why one tag was not untagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFailure {
    /// For now; it can succeed later.
    Retry(String),
    /// We are not allowed.
    Refused(String),
    /// For good: an index holds the image.
    Blocked(String),
}

/// What became of each tag that was asked for, and what else was touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untagged {
    /// Gone, by this call.
    pub gone: Vec<Tag>,
    /// Pointing to another image now: somebody moved it.
    pub moved: Vec<Tag>,
    /// Not there at the time of the call. Where it had just been read, most likely gone by an earlier attempt of
    /// the same call, whose answer was lost.
    pub absent: Vec<Tag>,
    /// Still there, and why.
    pub failed: Vec<(Tag, TagFailure)>,
    /// Neither answered as gone nor as failed.
    pub unanswered: Vec<Tag>,
    /// Gone without having been asked for: the over-reach.
    pub beyond: Vec<AnsweredId>,
}

impl Untagged {
    /// Adds the result of a further call.
    pub fn absorb(&mut self, other: Self) {
        self.gone.extend(other.gone);
        self.moved.extend(other.moved);
        self.absent.extend(other.absent);
        self.failed.extend(other.failed);
        self.unanswered.extend(other.unanswered);
        self.beyond.extend(other.beyond);
    }
}

/// Holds an answer against the request: these tags of the image with this digest, nothing else.
#[must_use]
pub fn reconcile(digest: &Digest, requested: &[Tag], answer: Answer) -> Untagged {
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
            // Where one failure stands for the whole image it names no tag.
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
            // Only people can mend a key. Should KMS be what fails, waiting for it loses nothing.
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
    fn each_requested_tag_ends_in_exactly_one_place() {
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
    fn another_tag_another_digest_or_the_image_itself_is_an_over_reach() {
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
    fn a_failure_without_a_tag_stands_for_every_tag() {
        let answer = Answer { deleted: vec![], failures: vec![failure(None, "ImageNotFound")] };
        let result = reconcile(&digest('a'), &tags(&["a", "b"]), answer);
        assert_eq!(result.absent, tags(&["a", "b"]));
    }
}
