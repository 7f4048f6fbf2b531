//! The name by which people refer to an image, as `docker pull` takes it.

use super::names::{AccountId, Digest, InvalidName, Region, RegistryId, RepositoryName, Tag};

/// The name of an image, such as `team/app:1.2.3` or `team/app@sha256:...`, with or without the
/// registry's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The registry, if the name begins with its host.
    pub registry: Option<RegistryId>,
    /// The repository.
    pub repository: RepositoryName,
    /// The image within the repository.
    pub image: TagOrDigest,
}

/// The part of a reference that names the image within its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOrDigest {
    /// Whatever image has this tag.
    Tag(Tag),
    /// The image with this digest.
    Digest(Digest),
}

/// What a person names: an image, or an image by the beginning of its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedImage {
    /// The whole name.
    Whole(ImageReference),
    /// A name that has only the beginning of a digest.
    Short(ShortReference),
}

/// A name such as `team/app@sha256:abcdef12` or `team/app:quarantine-abcdef12`, as people copy it
/// from a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortReference {
    /// The registry, if the name begins with its host.
    pub registry: Option<RegistryId>,
    /// The repository.
    pub repository: RepositoryName,
    /// The first hexadecimal digits of the digest, 8 to 63 of them.
    pub digits: String,
    /// The tag that stands in the name, if it is written as one: an image may have it.
    pub tag: Option<Tag>,
}

/// The fewest digits of a digest that are taken for its beginning.
const FEWEST_DIGITS: usize = 8;
/// The digits of a digest.
const DIGITS: usize = 64;

impl NamedImage {
    /// Parses what a person names.
    ///
    /// # Errors
    /// [`NoReference`] says why the text names nothing.
    pub fn parse(text: &str) -> Result<Self, NoReference> {
        let Parts { registry, repository, image } = Parts::of(text)?;
        let (written, tag) = match image {
            Part::Digest(digest) => {
                let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
                (digits.strip_prefix(MARK).unwrap_or(digits), None)
            }
            Part::Tag(tag) => match tag.strip_prefix(MARK) {
                Some(digits) => (digits, Tag::parse(tag).ok()),
                None => return ImageReference::parse(text).map(Self::Whole),
            },
        };
        let digits = written.to_ascii_lowercase();
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.len() {
            FEWEST_DIGITS..DIGITS if is_hex => Ok(Self::Short(ShortReference {
                registry,
                repository: RepositoryName::parse(repository)?,
                digits,
                tag,
            })),
            1..FEWEST_DIGITS if is_hex && tag.is_none() => Err(NoReference::TooShort),
            // Without its algorithm, as a table shows the beginning of it.
            DIGITS if is_hex && tag.is_none() => Ok(Self::Whole(ImageReference {
                registry,
                repository: RepositoryName::parse(repository)?,
                image: TagOrDigest::Digest(Digest::parse(format!("sha256:{digits}"))?),
            })),
            _ => ImageReference::parse(text).map(Self::Whole),
        }
    }
}

impl ShortReference {
    /// Returns the reference to the image that is meant.
    #[must_use]
    pub fn of(&self, image: TagOrDigest) -> ImageReference {
        let (registry, repository) = (self.registry.clone(), self.repository.clone());
        ImageReference { registry, repository, image }
    }
}

/// The beginning of our marks.
const MARK: &str = "quarantine-";

/// Why a text is no reference to an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReference {
    /// It names neither a tag nor a digest.
    #[error("it names neither a tag nor a digest, as in team/app:1.2.3 or team/app@sha256:...")]
    Unspecific,
    /// It names an image without its repository.
    #[error(
        "it names no repository, as in team/app@sha256:...; `tagwarden list` says in which \
         repository each image in quarantine is"
    )]
    NoRepository,
    /// It has too little of a digest.
    #[error(
        "it has too little of a digest: give 8 digits or more, as in team/app@sha256:0123abcd; \
         `tagwarden list` shows 12 of each image in quarantine"
    )]
    TooShort,
    /// Its first part is a host that is not one of ECR.
    #[error(
        "{0:?} is not the host of a registry of ECR, such as \
         111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    )]
    ForeignHost(String),
    /// A part of it cannot exist.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl ImageReference {
    /// Parses a reference.
    ///
    /// # Errors
    /// [`NoReference`] says why the text is none.
    pub fn parse(text: &str) -> Result<Self, NoReference> {
        let Parts { registry, repository, image } = Parts::of(text)?;
        let image = match image {
            Part::Digest(digest) => TagOrDigest::Digest(Digest::parse(digest)?),
            Part::Tag(tag) => TagOrDigest::Tag(Tag::parse(tag)?),
        };
        Ok(Self { registry, repository: RepositoryName::parse(repository)?, image })
    }
}

/// The parts of a reference, of which only the registry is checked.
struct Parts<'a> {
    registry: Option<RegistryId>,
    repository: &'a str,
    image: Part<'a>,
}

enum Part<'a> {
    Tag(&'a str),
    Digest(&'a str),
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, NoReference> {
        if text.starts_with("sha256:") || text.starts_with(MARK) {
            return Err(NoReference::NoRepository);
        }
        let (registry, rest) = match text.split_once('/') {
            // The names of repositories have no colon, and dots are rare in their first part.
            Some((host, rest)) if host.contains([':', '.']) && host != "." => {
                match registry_of(host) {
                    Some(registry) => (Some(registry), rest),
                    None if host.contains(':') || host.contains(".dkr") => {
                        return Err(NoReference::ForeignHost(host.to_owned()));
                    }
                    None => (None, text),
                }
            }
            _ => (None, text),
        };
        let (repository, image) = match (rest.split_once('@'), rest.rsplit_once(':')) {
            // A tag before a digest changes nothing (OCI distribution specification).
            (Some((name, digest)), _) => {
                let name = name.split_once(':').map_or(name, |(name, _)| name);
                (name, Part::Digest(digest))
            }
            (None, Some((name, tag))) => (name, Part::Tag(tag)),
            (None, None) => return Err(NoReference::Unspecific),
        };
        Ok(Self { registry, repository, image })
    }
}

/// Returns the account and the Region that the host of a registry names (ECR user guide, "Amazon
/// ECR registries", and its endpoints for FIPS and for IPv6).
fn registry_of(host: &str) -> Option<RegistryId> {
    let parts: Vec<_> = host.split('.').collect();
    let (account, region) = match parts.as_slice() {
        [account, "dkr", "ecr" | "ecr-fips", region, ..] => (account, region),
        [account, "dkr-ecr" | "dkr-ecr-fips", region, "on", ..] => (account, region),
        _ => return None,
    };
    let account = AccountId::parse(*account).ok()?;
    Some(RegistryId { account, region: Region::parse(*region).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_have_a_repository_and_a_tag_or_a_digest() {
        let host = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
        let by_digest = TagOrDigest::Digest(Digest::parse(DIGEST).unwrap());
        let by_tag = |tag: &str| TagOrDigest::Tag(Tag::parse(tag).unwrap());
        for (text, registry, repository, image) in [
            ("team/app:1.2.3".to_owned(), false, "team/app", by_tag("1.2.3")),
            ("app:latest".to_owned(), false, "app", by_tag("latest")),
            (format!("team/app@{DIGEST}"), false, "team/app", by_digest.clone()),
            (format!("team/app:1.2@{DIGEST}"), false, "team/app", by_digest.clone()),
            (format!("{host}/team/app:1"), true, "team/app", by_tag("1")),
            (format!("{host}.cn/app@{DIGEST}"), true, "app", by_digest.clone()),
            ("111122223333.dkr-ecr.eu-west-1.on.aws/app:1".to_owned(), true, "app", by_tag("1")),
            ("my.team/app:1".to_owned(), false, "my.team/app", by_tag("1")),
        ] {
            let reference = ImageReference::parse(&text).unwrap();
            assert_eq!(reference.registry.is_some(), registry, "{text}");
            assert_eq!(reference.repository.as_str(), repository, "{text}");
            assert_eq!(reference.image, image, "{text}");
        }
    }

    #[test]
    fn beginning_of_a_digest_is_taken_for_one() {
        let short = |text: &str| match NamedImage::parse(text) {
            Ok(NamedImage::Short(short)) => Some((short.digits, short.tag.is_some())),
            _ => None,
        };
        for (text, digits, is_tag) in [
            ("team/app@sha256:0123abcd", "0123abcd", false),
            ("team/app@0123ABCDef01", "0123abcdef01", false),
            ("team/app@quarantine-0123abcd", "0123abcd", false),
            ("team/app:quarantine-0123abcd", "0123abcd", true),
            (&format!("team/app:1.0@{}", &DIGEST[..70]), &DIGEST[7..70], false),
        ] {
            assert_eq!(short(text), Some((digits.to_owned(), is_tag)), "{text}");
        }
        let whole = NamedImage::Whole(ImageReference::parse(&format!("app@{DIGEST}")).unwrap());
        let bare = DIGEST.trim_start_matches("sha256:");
        for text in [format!("app@{DIGEST}"), format!("app@{bare}")] {
            assert_eq!(NamedImage::parse(&text), Ok(whole.clone()), "{text}");
        }
        for text in ["app:0123abcd", "app:quarantine-0123", "app:quarantine-notes-2026"] {
            let whole = NamedImage::Whole(ImageReference::parse(text).unwrap());
            assert_eq!(NamedImage::parse(text), Ok(whole), "{text}");
        }
        assert_eq!(NamedImage::parse("app@sha256:0123abc"), Err(NoReference::TooShort));
        for text in ["app@sha256:0123abcz", "app@", "app@sha256:", &format!("app@{DIGEST}0")] {
            assert!(matches!(NamedImage::parse(text), Err(NoReference::Name(_))), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for (text, reason) in [
            ("team/app", "neither a tag nor a digest"),
            (DIGEST, "no repository"),
            ("quarantine-0123", "no repository"),
            ("localhost:5000/app:1", "not the host"),
            ("1.dkr.ecr.eu-west-1.amazonaws.com/app:1", "not the host"),
            ("Team/App:1", "Team/App"),
            ("team/app:", "tag"),
            ("team/app@sha256:abc", "digest"),
        ] {
            let error = ImageReference::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
