//! An image whose tags a plan removes, after its names have been checked.

use super::Entry;
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, Repository, RepositoryName, Tag,
};

/// An image whose tags a plan removes, after its names have been checked.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The image's repository.
    pub repository: Repository,
    /// The image's digest.
    pub digest: Digest,
    /// All tags that it had when the plan was made.
    pub tags: Vec<Tag>,
    /// The tags to remove.
    pub untag: Vec<Tag>,
    /// Whether the image is deleted with them.
    pub delete: bool,
    is_index: bool,
    at: usize,
}

impl Planned {
    pub(super) fn new(at: usize, entry: &Entry) -> Result<Self, InvalidName> {
        Ok(Self {
            repository: Repository {
                account: AccountId::parse(&entry.account)?,
                region: Region::parse(&entry.region)?,
                name: RepositoryName::parse(&entry.repository)?,
            },
            digest: Digest::parse(&entry.digest)?,
            tags: tags(&entry.tags)?,
            untag: tags(&entry.untag)?,
            delete: entry.delete,
            is_index: entry.kind == "index",
            at,
        })
    }

    /// Creates one for a test.
    #[cfg(test)]
    pub(in crate::sweep) fn of(
        repository: Repository,
        digest: Digest,
        tags: Vec<Tag>,
        untag: Vec<Tag>,
    ) -> Self {
        Self { repository, digest, tags, untag, delete: false, is_index: false, at: 0 }
    }

    /// Returns its position in the document.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_index(&self) -> bool {
        self.is_index
    }
}

fn tags(names: &[String]) -> Result<Vec<Tag>, InvalidName> {
    let mut tags = names.iter().map(Tag::parse).collect::<Result<Vec<_>, _>>()?;
    tags.sort();
    Ok(tags)
}
