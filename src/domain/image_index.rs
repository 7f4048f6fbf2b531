//! Image indexes and Docker manifest lists, and the walk through their levels.
//!
//! People pull an index, but findings are about its children, so an index is judged by the images
//! that it holds. Anybody can push any index, and four rules follow from that:
//!
//! - *Indexes in indexes are followed*, because releases have them: at most [`MAX_LEVELS`] levels
//!   and [`MAX_MANIFESTS`] manifests over all levels, each counted once.
//! - *A violation within these bounds decides.* Only when no image within them violates the policy
//!   does [`Walk::gap`] matter: an index that is larger, deeper or unreadable in part is reported
//!   as `blocked`, even under `index = "all"`. It is never taken to be clean.
//! - *What an entry says about itself hides nothing.* An `artifactType`, a platform, a media type
//!   or an annotation is never enough to leave the entry out. [`Role`] only decides the order:
//!   attestations come last, and count only if ECR shows findings for them.
//! - *The manifests are read level by level*, by the caller. This module does no I/O; it decides
//!   what to read next and counts what was left out.

use std::borrow::Borrow;
use std::collections::HashSet;

use super::names::Digest;

/// The most manifests of one index that are read, over all its levels, each counted once.
pub const MAX_MANIFESTS: usize = 500;
/// The most levels of indexes that are followed. The outermost index is the first level.
pub const MAX_LEVELS: usize = 4;

/// One manifest that an index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The platform, such as `linux/amd64`, if the index names it.
    pub platform: Option<String>,
}

/// What an index says about one of its entries. It is never enough to leave the entry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The index calls the entry an image or an artifact, or says nothing about it.
    Image,
    /// The index calls the entry an index.
    Index,
    /// The index calls the entry an attestation of another entry, by BuildKit's annotation.
    Attestation,
}

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The manifest that the entry points to.
    pub child: Child,
    /// What the index says about the manifest.
    pub role: Role,
}

/// One level of an image index or a Docker manifest list: the entries of its own manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    digest: Digest,
    entries: Vec<Entry>,
    cut: usize,
    unreadable: usize,
}

impl Index {
    /// Creates an index with these entries; `None` is an entry that cannot be understood. Entries
    /// that point to the same manifest count once. At most [`MAX_MANIFESTS`] entries are kept, and
    /// the others are counted.
    #[must_use]
    pub fn new(digest: Digest, entries: impl IntoIterator<Item = Option<Entry>>) -> Self {
        let (mut met, mut kept) = (HashSet::new(), Vec::new());
        let (mut cut, mut unreadable) = (0, 0);
        for entry in entries {
            let Some(entry) = entry else {
                unreadable += 1;
                continue;
            };
            if !met.insert(entry.child.digest.clone()) {
                continue;
            }
            if kept.len() < MAX_MANIFESTS {
                kept.push(entry);
            } else {
                cut += 1;
            }
        }
        kept.shrink_to_fit();
        Self { digest, entries: kept, cut, unreadable }
    }

    /// Returns the index's own digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the entries that were kept, each manifest once.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the child with this digest.
    #[must_use]
    pub fn child(&self, digest: &Digest) -> Option<&Child> {
        self.entries.iter().map(|entry| &entry.child).find(|child| child.digest == *digest)
    }
}

/// A walk through an index, level by level, within the bounds. The caller reads the manifests.
///
/// For each level, call [`Walk::enter`] with the indexes of the level, find out which of the
/// entries are indexes, and pass these to [`Walk::descend`], which returns the ones to read for the
/// next level.
///
/// ```
/// # use tagwarden::domain::names::Digest;
/// # use tagwarden::domain::image_index::{Child, Entry, Index, Role, Walk};
/// # let digest = |of: &str| Digest::parse(format!("sha256:{}", of.repeat(64))).unwrap();
/// # let child = |of| Child { digest: digest(of), platform: None };
/// # let entry = |of, role| Some(Entry { child: child(of), role });
/// let root = Index::new(digest("a"), [entry("b", Role::Image), entry("c", Role::Index)]);
/// let mut walk = Walk::of(root.digest());
/// let entries = walk.enter(&[&root]);
/// assert_eq!(entries.len(), 2);
/// // "c" is an index, and its manifest cannot be read.
/// let inner = walk.descend(vec![digest("c")]);
/// walk.unread(&inner);
/// assert!(walk.gap().is_some());
/// ```
#[derive(Clone, Debug)]
pub struct Walk {
    met: HashSet<Digest>,
    level: usize,
    over: usize,
    deep: usize,
    unreadable: usize,
    unread: Vec<Digest>,
}

impl Walk {
    /// Begins a walk at the index with this digest.
    #[must_use]
    pub fn of(root: &Digest) -> Self {
        let met = HashSet::from([root.clone()]);
        Self { met, level: 1, over: 0, deep: 0, unreadable: 0, unread: Vec::new() }
    }

    /// Returns the entries of this level's indexes that the walk has not met before, up to the
    /// bound.
    pub fn enter(&mut self, indexes: &[impl Borrow<Index>]) -> Vec<Entry> {
        let mut entered = Vec::new();
        for index in indexes {
            let index: &Index = index.borrow();
            self.over += index.cut;
            self.unreadable += index.unreadable;
            for entry in &index.entries {
                if self.met.contains(&entry.child.digest) {
                    continue;
                }
                // `met` also holds the outermost index, which the bound does not count.
                if self.met.len() > MAX_MANIFESTS {
                    self.over += 1;
                    continue;
                }
                self.met.insert(entry.child.digest.clone());
                entered.push(entry.clone());
            }
        }
        entered
    }

    /// Takes the indexes that were found on this level, and returns the ones to read as the next
    /// level: all of them, or none below the last level.
    pub fn descend(&mut self, inner: Vec<Digest>) -> Vec<Digest> {
        if self.level >= MAX_LEVELS {
            self.deep += inner.len();
            return Vec::new();
        }
        self.level += 1;
        inner
    }

    /// Records that these indexes cannot be read, so their images are unknown.
    pub fn unread(&mut self, indexes: &[Digest]) {
        self.unread.extend_from_slice(indexes);
    }

    /// Says in words which parts of the index are unknown. Returns `None` if the walk has met all
    /// of it.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.over > 0 {
            parts.push(format!(
                "{} of its entries exceed the limit of {MAX_MANIFESTS} manifests",
                self.over
            ));
        }
        if self.deep > 0 {
            parts.push(format!("{} nested indexes are deeper than {MAX_LEVELS} levels", self.deep));
        }
        if self.unreadable > 0 {
            parts.push(format!("{} of its entries cannot be understood", self.unreadable));
        }
        if let Some(first) = self.unread.first() {
            parts.push(format!(
                "{} nested indexes are missing or cannot be read, such as {first}",
                self.unread.len()
            ));
        }
        (!parts.is_empty())
            .then(|| format!("the index cannot be judged as a whole: {}", parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::parse(format!("sha256:{number:064x}")).unwrap()
    }

    fn entry(number: usize, role: Role) -> Entry {
        Entry { child: Child { digest: digest(number), platform: None }, role }
    }

    fn index(number: usize, children: impl IntoIterator<Item = usize>) -> Index {
        let entries = children.into_iter().map(|child| Some(entry(child, Role::Image)));
        Index::new(digest(number), entries)
    }

    fn numbers(entries: &[Entry]) -> Vec<Digest> {
        entries.iter().map(|entry| entry.child.digest.clone()).collect()
    }

    #[test]
    fn child_is_found_by_digest() {
        let index = index(1, [2, 3]);
        let child = Child { digest: digest(3), platform: None };
        assert_eq!(index.child(&digest(3)), Some(&child));
        assert_eq!(index.child(&digest(1)), None, "the index is not its own child");
    }

    #[test]
    fn entries_of_one_manifest_count_once() {
        let bomb = index(1, std::iter::repeat_n(2, 3_000));
        assert_eq!(bomb.entries().len(), 1);
        let mut walk = Walk::of(bomb.digest());
        assert_eq!(numbers(&walk.enter(&[&bomb])), [digest(2)]);
        assert_eq!(walk.gap(), None);
    }

    #[test]
    fn manifests_beyond_the_bound_are_counted_but_not_entered() {
        let mut walk = Walk::of(&digest(1));
        assert_eq!(walk.enter(&[index(1, 2..=301)]).len(), 300);
        assert_eq!(walk.descend(vec![digest(2), digest(3)]).len(), 2);
        // The walk has met a hundred of them on the level before.
        assert_eq!(walk.enter(&[index(2, 202..=401), index(3, 402..=501)]).len(), 200);
        assert_eq!(walk.gap(), None, "five hundred in all");
        walk.descend(vec![digest(4)]);
        assert!(walk.enter(&[index(4, 500..=503)]).is_empty());
        let gap = walk.gap().unwrap();
        assert!(gap.contains("2 of its entries exceed the limit of 500"), "{gap}");

        let wide = index(1, 2..3_002);
        assert_eq!(wide.entries().len(), MAX_MANIFESTS);
        let mut walk = Walk::of(wide.digest());
        assert_eq!(walk.enter(&[wide]).len(), MAX_MANIFESTS);
        assert!(walk.gap().unwrap().contains("2500 of its entries"), "{:?}", walk.gap());
    }

    #[test]
    fn levels_below_the_fourth_are_a_gap() {
        let mut walk = Walk::of(&digest(1));
        for level in 1..MAX_LEVELS {
            assert_eq!(walk.enter(&[index(level, [level + 1])]).len(), 1);
            assert_eq!(walk.descend(vec![digest(level + 1)]), [digest(level + 1)]);
        }
        assert_eq!(walk.gap(), None);
        assert!(walk.descend(vec![digest(9), digest(10)]).is_empty());
        assert!(walk.gap().unwrap().contains("2 nested indexes are deeper than 4 levels"));
    }

    #[test]
    fn gap_names_an_index_that_cannot_be_read() {
        let unclear = Index::new(digest(1), [None, Some(entry(2, Role::Index)), None, None]);
        let mut walk = Walk::of(unclear.digest());
        walk.enter(&[unclear]);
        walk.unread(&[digest(2)]);
        let gap = walk.gap().unwrap();
        assert!(gap.contains("3 of its entries cannot be understood"), "{gap}");
        assert!(gap.contains(digest(2).as_str()), "{gap}");
    }

    #[test]
    fn manifest_is_entered_only_once() {
        let mut walk = Walk::of(&digest(1));
        walk.enter(&[index(1, [2, 3])]);
        walk.descend(vec![digest(2), digest(3)]);
        assert!(walk.enter(&[index(2, [1, 3]), index(3, [2])]).is_empty());
    }
}
