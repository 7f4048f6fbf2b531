//! Image indexes: what people pull of a multi-arch image, while findings are about its children. An index can hold
//! indexes, and entries that call themselves something else than they are.

use std::borrow::Borrow;
use std::collections::HashSet;

use super::image::Digest;

/// Manifests of one index that are looked at, over all its levels, each counted once.
pub const MOST_MANIFESTS: usize = 500;
/// Indexes in indexes that are followed: the outermost is the first level.
pub const MOST_LEVELS: usize = 4;

/// One image of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its digest.
    pub digest: Digest,
    /// Its platform, such as `linux/amd64`, where the index names it.
    pub platform: Option<String>,
}

/// What an index says of one of its entries. It is never enough to leave the entry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing, or that it is an image or an artifact.
    Image,
    /// That it is an index.
    Index,
    /// That it is an attestation of another entry, as BuildKit annotates them.
    Attestation,
}

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it points to.
    pub child: Child,
    /// What the index says of it.
    pub role: Role,
}

/// An image index or a Docker manifest list, as its manifest says: this level alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    digest: Digest,
    entries: Vec<Entry>,
    cut: usize,
    unreadable: usize,
}

impl Index {
    /// An index with these entries; `None` stands for one that cannot be understood. Those that point to the same
    /// manifest count once, and [`MOST_MANIFESTS`] are kept.
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
            if kept.len() < MOST_MANIFESTS {
                kept.push(entry);
            } else {
                cut += 1;
            }
        }
        kept.shrink_to_fit();
        Self { digest, entries: kept, cut, unreadable }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its entries, each manifest once.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this digest.
    #[must_use]
    pub fn child(&self, digest: &Digest) -> Option<&Child> {
        self.entries.iter().map(|entry| &entry.child).find(|child| child.digest == *digest)
    }
}

/// A walk through an index, level by level, within the bounds. Whoever walks reads the manifests.
///
/// ```
/// # use tagwarden::domain::image::Digest;
/// # use tagwarden::domain::index::{Child, Entry, Index, Role, Walk};
/// # let digest = |of: &str| Digest::parse(format!("sha256:{}", of.repeat(64))).unwrap();
/// # let entry = |of, role| Some(Entry { child: Child { digest: digest(of), platform: None }, role });
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
    /// A walk that begins at the index with this digest.
    #[must_use]
    pub fn of(root: &Digest) -> Self {
        let met = HashSet::from([root.clone()]);
        Self { met, level: 1, over: 0, deep: 0, unreadable: 0, unread: Vec::new() }
    }

    /// The entries of this level's indexes that were not met before, as far as the bound permits.
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
                // The outermost index is among those that were met.
                if self.met.len() > MOST_MANIFESTS {
                    self.over += 1;
                    continue;
                }
                self.met.insert(entry.child.digest.clone());
                entered.push(entry.clone());
            }
        }
        entered
    }

    /// Which of the indexes that were found on this level are to be read, as the next one.
    pub fn descend(&mut self, inner: Vec<Digest>) -> Vec<Digest> {
        if self.level >= MOST_LEVELS {
            self.deep += inner.len();
            return Vec::new();
        }
        self.level += 1;
        inner
    }

    /// These indexes cannot be read: what they hold is not known.
    pub fn unread(&mut self, indexes: &[Digest]) {
        self.unread.extend_from_slice(indexes);
    }

    /// Why the index is not known as a whole, in words; `None` where it is.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.over > 0 {
            parts.push(format!(
                "{} of its entries are beyond the {MOST_MANIFESTS} that are looked at",
                self.over
            ));
        }
        if self.deep > 0 {
            parts.push(format!("{} indexes in it lie deeper than {MOST_LEVELS} levels", self.deep));
        }
        if self.unreadable > 0 {
            parts.push(format!("{} of its entries cannot be understood", self.unreadable));
        }
        if let Some(first) = self.unread.first() {
            parts.push(format!(
                "{} indexes in it are missing or cannot be read, such as {first}",
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
    fn child_is_found_by_its_digest_alone() {
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
    fn five_hundred_manifests_over_all_levels_are_entered_and_the_others_are_counted() {
        let mut walk = Walk::of(&digest(1));
        assert_eq!(walk.enter(&[index(1, 2..=301)]).len(), 300);
        assert_eq!(walk.descend(vec![digest(2), digest(3)]).len(), 2);
        // A hundred of them were met on the level before.
        assert_eq!(walk.enter(&[index(2, 202..=401), index(3, 402..=501)]).len(), 200);
        assert_eq!(walk.gap(), None, "five hundred in all");
        walk.descend(vec![digest(4)]);
        assert!(walk.enter(&[index(4, 500..=503)]).is_empty());
        let gap = walk.gap().unwrap();
        assert!(gap.contains("2 of its entries are beyond the 500"), "{gap}");

        let wide = index(1, 2..3_002);
        assert_eq!(wide.entries().len(), MOST_MANIFESTS);
        let mut walk = Walk::of(wide.digest());
        assert_eq!(walk.enter(&[wide]).len(), MOST_MANIFESTS);
        assert!(walk.gap().unwrap().contains("2500 of its entries"), "{:?}", walk.gap());
    }

    #[test]
    fn four_levels_are_followed_and_what_lies_deeper_is_said() {
        let mut walk = Walk::of(&digest(1));
        for level in 1..MOST_LEVELS {
            assert_eq!(walk.enter(&[index(level, [level + 1])]).len(), 1);
            assert_eq!(walk.descend(vec![digest(level + 1)]), [digest(level + 1)]);
        }
        assert_eq!(walk.gap(), None);
        assert!(walk.descend(vec![digest(9), digest(10)]).is_empty());
        assert!(walk.gap().unwrap().contains("2 indexes in it lie deeper than 4 levels"));
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_digest() {
        let unclear = Index::new(digest(1), [None, Some(entry(2, Role::Index)), None, None]);
        let mut walk = Walk::of(unclear.digest());
        walk.enter(&[unclear]);
        walk.unread(&[digest(2)]);
        let gap = walk.gap().unwrap();
        assert!(gap.contains("3 of its entries cannot be understood"), "{gap}");
        assert!(gap.contains(digest(2).as_str()), "{gap}");
    }

    #[test]
    fn index_that_is_met_again_is_not_walked_through_twice() {
        let mut walk = Walk::of(&digest(1));
        walk.enter(&[index(1, [2, 3])]);
        walk.descend(vec![digest(2), digest(3)]);
        assert!(walk.enter(&[index(2, [1, 3]), index(3, [2])]).is_empty());
    }
}
