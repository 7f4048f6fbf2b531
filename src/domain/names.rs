//! The names of things in a registry, each with a checked type of its own.
//!
//! Names are checked when they enter the program. A Region becomes part of a host name and a
//! repository name part of a request, so both must match AWS's own alphabet before any call is
//! made.
//!
//! [`Tag`] knows the quarantine tags, which are the mark of tagwarden: `quarantine-<hex>` and
//! `quarantine-<hex>.1` to `.9`, where `<hex>` is the image's own digest. Only a tag with the
//! image's own digest is its mark. The quarantine tag of another image is a tag like any other, so
//! nobody can hide an image behind it.

use std::fmt;

use super::text::hex;

/// The error for a value that is not a valid name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidName {
    value: String,
    expected: &'static str,
}

impl InvalidName {
    fn new(value: &str, expected: &'static str) -> Self {
        // An event can hold a megabyte here. The first characters are enough to recognise the
        // value.
        let value = value.chars().take(64).collect();
        Self { value, expected }
    }

    /// Describes a valid name in words.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

/// Defines a string type that can only hold values that its check accepts.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// Checks `value` and wraps it.
            ///
            /// # Errors
            /// Returns [`InvalidName`] if `value` is not a valid name.
            pub fn parse(value: impl Into<String>) -> Result<Self, InvalidName> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidName::new(&value, $expected))
                }
            }

            /// Returns the name as AWS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The id of an AWS account.
    AccountId,
    "an AWS account id of 12 digits",
    |value| value.len() == 12 && value.bytes().all(|byte| byte.is_ascii_digit())
);

name!(
    /// An AWS Region, such as `eu-west-1`.
    Region,
    "an AWS Region such as eu-west-1",
    |value| {
        // A Region becomes part of a host name, so it may only hold letters, digits and single
        // dashes.
        value.len() <= 32
            && value.contains('-')
            && value.split('-').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            })
    }
);

name!(
    /// A repository's name without its registry, such as `team/app`.
    RepositoryName,
    "an ECR repository name (lower-case letters, digits, '.', '_', '-', '/', \
     at most 256 characters)",
    |value| {
        (1..=256).contains(&value.len())
            && value.split('/').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
                    })
            })
    }
);

name!(
    /// The digest of a manifest: `sha256:` and 64 lower-case hex digits.
    Digest,
    "a digest (sha256: and 64 lower-case hex digits)",
    |value| {
        value.strip_prefix("sha256:").is_some_and(is_sha256)
    }
);

name!(
    /// An image tag. ECR's API model allows up to 300 characters.
    Tag,
    "an image tag (letters, digits, '_', '.', '-', not starting with '.' or '-')",
    |value| {
        value.len() <= 300
            && value.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    }
);

impl Digest {
    /// Returns the digest with this hash, as SHA-256 gives it.
    #[must_use]
    pub(super) fn of_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(hash)))
    }

    /// Returns the 64 hex digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

impl Tag {
    pub(crate) const QUARANTINE: &'static str = "quarantine-";

    /// The number of quarantine tags that an image can have.
    pub const QUARANTINES: usize = 10;

    /// Returns the first quarantine tag of the image with this digest. The tag keeps the image when
    /// its other tags are removed, and is the durable record that tagwarden has begun to remove
    /// them.
    #[must_use]
    pub fn quarantine(digest: &Digest) -> Self {
        Self(format!("{}{}", Self::QUARANTINE, digest.hex()))
    }

    /// Returns all quarantine tags of the image with this digest, in the order in which they are
    /// tried. When somebody has put one of them on another image, the next one is used.
    pub fn quarantines(digest: &Digest) -> impl Iterator<Item = Self> {
        let first = Self::quarantine(digest);
        let more: Vec<_> = (1..Self::QUARANTINES).map(|at| Self(format!("{first}.{at}"))).collect();
        std::iter::once(first).chain(more)
    }

    /// Returns whether this is a quarantine tag of this image. The quarantine tag of another image
    /// is a tag like any other, because otherwise anybody who can push could hide an image behind
    /// it.
    #[must_use]
    pub fn is_quarantine_of(&self, digest: &Digest) -> bool {
        let rest = self.0.strip_prefix(Self::QUARANTINE);
        match rest.and_then(|rest| rest.strip_prefix(digest.hex())).map(str::as_bytes) {
            Some([]) => true,
            Some([b'.', number]) => (b'1'..=b'9').contains(number),
            _ => false,
        }
    }

    /// Returns whether the tag has the form of a tag that attaches something to an image: a
    /// signature, an attestation, or the list of such things (cosign; OCI distribution
    /// specification, "referrers tag schema").
    #[must_use]
    pub fn is_referrer(&self) -> bool {
        let Some(rest) = self.0.strip_prefix("sha256-") else { return false };
        let (hex, ending) = rest.split_once('.').unwrap_or((rest, "sig"));
        is_sha256(hex) && ["sig", "att", "sbom"].contains(&ending)
    }
}

fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The Regions that AWS had in 2026 (the partitions of the SDK's endpoint rules). A newer one is
/// used like any other; the list only finds what was probably mistyped.
pub(crate) const KNOWN_REGIONS: [&str; 46] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// A repository of one account in one Region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// The account that owns the registry.
    pub account: AccountId,
    /// The registry's Region.
    pub region: Region,
    /// The name of the repository in the registry.
    pub name: RepositoryName,
}

impl Repository {
    /// Returns the account and Region of the repository's registry.
    #[must_use]
    pub fn registry_id(&self) -> RegistryId {
        RegistryId { account: self.account.clone(), region: self.region.clone() }
    }

    /// Returns the partition of AWS that the repository's Region belongs to (AWS General Reference,
    /// "Amazon Resource Names").
    #[must_use]
    pub fn partition(&self) -> &'static str {
        const PARTITIONS: [(&str, &str); 7] = [
            ("cn-", "aws-cn"),
            ("us-gov-", "aws-us-gov"),
            ("eusc-", "aws-eusc"),
            ("us-iso-", "aws-iso"),
            ("us-isob-", "aws-iso-b"),
            ("us-isof-", "aws-iso-f"),
            ("eu-isoe-", "aws-iso-e"),
        ];
        let region = self.region.as_str();
        let own = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
        own.map_or("aws", |(_, partition)| partition)
    }

    /// Returns the name by which any container runtime pulls the image with this digest, such as
    /// `111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app@sha256:...` (ECR user guide, "Private
    /// registry").
    #[must_use]
    pub fn pull_name(&self, digest: &Digest) -> String {
        // The endings of ECR's own endpoints (the endpoint rules of its SDK).
        const DOMAINS: [(&str, &str); 6] = [
            ("cn-", "amazonaws.com.cn"),
            ("eusc-", "amazonaws.eu"),
            ("us-iso-", "c2s.ic.gov"),
            ("us-isob-", "sc2s.sgov.gov"),
            ("us-isof-", "csp.hci.ic.gov"),
            ("eu-isoe-", "cloud.adc-e.uk"),
        ];
        let Self { account, region, name } = self;
        let own = DOMAINS.iter().find(|(prefix, _)| region.as_str().starts_with(prefix));
        let domain = own.map_or("amazonaws.com", |(_, domain)| domain);
        format!("{account}.dkr.ecr.{region}.{domain}/{name}@{digest}")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.region, self.name)
    }
}

/// A registry, identified by its account and Region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryId {
    /// The account that owns the registry.
    pub account: AccountId,
    /// The registry's Region.
    pub region: Region,
}

/// The parts of an ECR repository ARN, `arn:aws:ecr:REGION:ACCOUNT:repository/NAME`. Inspector
/// appends the digest of an image, `/sha256:...` (Inspector user guide, EventBridge schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryArn {
    /// The repository that the ARN names.
    pub repository: Repository,
    /// The digest that is appended to the ARN, if there is one.
    pub digest: Option<Digest>,
}

impl RepositoryArn {
    /// Parses an ECR repository ARN of any partition.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the text is not such an ARN or one of its parts is invalid.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::new(text, "an ECR repository ARN");
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(invalid);
        let (arn, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        if arn != "arn" || !partition.starts_with("aws") || service != "ecr" {
            return Err(invalid());
        }
        let path = resource.strip_prefix("repository/").ok_or_else(invalid)?;
        let (name, digest) = match path.rsplit_once('/') {
            Some((name, digest)) if digest.starts_with("sha256:") => {
                (name, Some(Digest::parse(digest)?))
            }
            _ => (path, None),
        };
        Ok(Self {
            repository: Repository {
                account: AccountId::parse(account)?,
                region: Region::parse(region)?,
                name: RepositoryName::parse(name)?,
            },
            digest,
        })
    }
}

/// Returns the tags in one text, separated by commas.
#[must_use]
pub fn joined(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(crate) mod sample {
    use super::{AccountId, Region, Repository, RepositoryName};

    /// A repository of this name, in the account and Region of most tests.
    pub(crate) fn repository(name: &str) -> Repository {
        Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            name: RepositoryName::parse(name).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests;
