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

/// Why a text is no reference to an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReference {
    /// It names neither a tag nor a digest.
    #[error("it names neither a tag nor a digest, as in team/app:1.2.3 or team/app@sha256:...")]
    Unspecific,
    /// It names an image without its repository.
    #[error("it names no repository, as in team/app@sha256:...")]
    NoRepository,
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
        if text.starts_with("sha256:") || text.starts_with("quarantine-") {
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
                (name, TagOrDigest::Digest(Digest::parse(digest)?))
            }
            (None, Some((name, tag))) => (name, TagOrDigest::Tag(Tag::parse(tag)?)),
            (None, None) => return Err(NoReference::Unspecific),
        };
        Ok(Self { registry, repository: RepositoryName::parse(repository)?, image })
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
