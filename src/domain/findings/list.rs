//! The findings of one image, packed, because an image may have tens of thousands of findings and a
//! worker judges many images at once.
//!
//! Each page of findings becomes one piece: one text that holds all words, and two vectors of
//! fixed-size records that point into it. So a finding takes about 150 bytes, in three allocations
//! for a whole page. As [`Finding`]s of their own, findings would take three times as much, in ten
//! allocations each. A [`FindingRef`] reads a packed finding and copies nothing.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use super::{Finding, Package, Score, Severity, SeverityCounts};

/// The most packages of one finding that are kept. A finding with more packages counts as one with
/// an unnamed package, so that no exception for a package covers all of it.
const MAX_PACKAGES: usize = 1_000;

/// Packed findings, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingList {
    pieces: Vec<Piece>,
    counts: SeverityCounts,
}

/// The findings of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Piece {
    text: String,
    packages: Vec<PackedPackage>,
    findings: Vec<Packed>,
}

/// A part of a piece's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    start: u32,
    length: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PackedPackage {
    name: Position,
    installed: Option<Position>,
    fixed: Option<Position>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Packed {
    id: Position,
    link: Option<Position>,
    /// The position of the first package, and the number of packages.
    packages: (u32, u16),
    unnamed_package: bool,
    severity: Severity,
    score: Option<Score>,
    fixable: Option<bool>,
    exploitable: Option<bool>,
    /// Seconds since 1970, rounded down, so that a grace period never ends too late.
    first_observed: Option<u32>,
}

/// One finding of a [`FindingList`].
#[derive(Clone, Copy, Debug)]
pub struct FindingRef<'a> {
    piece: &'a Piece,
    packed: &'a Packed,
}

/// One package of a [`FindingRef`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageRef<'a> {
    /// The name of the package.
    pub name: &'a str,
    /// The version in the image.
    pub installed: Option<&'a str>,
    /// The version that fixes the finding.
    pub fixed: Option<&'a str>,
}

/// The sort key of a finding, worst first: severity, score and id, and then every other field, so
/// that the order never depends on the order of the pages.
pub(crate) type Rank<'a> = (
    (Severity, Reverse<Option<Score>>, &'a str, Vec<PackageRef<'a>>),
    (Option<bool>, Option<bool>, Option<SystemTime>, Option<&'a str>),
);

impl Finding {
    /// Returns the sort key, worst first.
    pub(crate) fn rank(&self) -> Rank<'_> {
        let packages = self.packages.iter().map(|package| PackageRef {
            name: &package.name,
            installed: package.installed.as_deref(),
            fixed: package.fixed.as_deref(),
        });
        (
            (self.severity, Reverse(self.score), &self.id, packages.collect()),
            (self.fixable, self.exploitable, self.first_observed, self.link.as_deref()),
        )
    }
}

impl Piece {
    fn put(&mut self, text: &str) -> Position {
        let kept = text.get(..text.floor_char_boundary(u16::MAX.into())).unwrap_or_default();
        // A piece never reaches 4 GiB, because texts of findings are short and `Reading` bounds the
        // list to a few megabytes.
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(kept);
        Position { start, length: u16::try_from(kept.len()).unwrap_or(u16::MAX) }
    }

    fn get(&self, Position { start, length }: Position) -> &str {
        let start = start as usize;
        self.text.get(start..start + usize::from(length)).unwrap_or_default()
    }

    fn push(&mut self, finding: &Finding) {
        let start = u32::try_from(self.packages.len()).unwrap_or(u32::MAX);
        for Package { name, installed, fixed } in finding.packages.iter().take(MAX_PACKAGES) {
            let package = PackedPackage {
                name: self.put(name),
                installed: installed.as_deref().map(|text| self.put(text)),
                fixed: fixed.as_deref().map(|text| self.put(text)),
            };
            self.packages.push(package);
        }
        let kept = self.packages.len() - start as usize;
        let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        let packed = Packed {
            id: self.put(&finding.id),
            link: finding.link.as_deref().map(|link| self.put(link)),
            packages: (start, u16::try_from(kept).unwrap_or(u16::MAX)),
            unnamed_package: finding.unnamed_package || kept < finding.packages.len(),
            severity: finding.severity,
            score: finding.score,
            fixable: finding.fixable,
            exploitable: finding.exploitable,
            first_observed: finding
                .first_observed
                .map(|at| since_1970(at).unwrap_or_default().as_secs())
                .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        };
        self.findings.push(packed);
    }

    fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.packages.shrink_to_fit();
        self.findings.shrink_to_fit();
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.text.capacity()
            + self.packages.capacity() * size_of::<PackedPackage>()
            + self.findings.capacity() * size_of::<Packed>()
    }
}

impl FindingList {
    /// Returns the number of findings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.findings.len()).sum()
    }

    /// Returns whether the list has no findings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory that the list takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.pieces.iter().map(Piece::weight).sum::<usize>()
    }

    /// Returns the number of findings by severity.
    #[must_use]
    pub fn counts(&self) -> &SeverityCounts {
        &self.counts
    }

    /// Iterates over the findings in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = FindingRef<'_>> {
        self.pieces
            .iter()
            .flat_map(|piece| piece.findings.iter().map(move |packed| FindingRef { piece, packed }))
    }

    /// Keeps the first `most` findings and drops the others.
    pub fn truncate(&mut self, most: usize) {
        let mut excess = self.len().saturating_sub(most);
        while excess > 0 {
            let Some(piece) = self.pieces.last_mut() else { break };
            let kept = piece.findings.len().saturating_sub(excess);
            let dropped = piece.findings.split_off(kept);
            excess -= dropped.len();
            let dropped = dropped.iter().map(|packed| (packed.severity, 1)).collect();
            self.counts = std::mem::take(&mut self.counts).without(&dropped);
            if piece.findings.is_empty() {
                self.pieces.pop();
            }
        }
    }

    /// Appends the findings of another list.
    pub fn append(&mut self, other: Self) {
        self.counts = std::mem::take(&mut self.counts).and(&other.counts);
        self.pieces.extend(other.pieces);
    }
}

impl Extend<Finding> for FindingList {
    /// Appends findings as one piece.
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        let mut piece = Piece::default();
        for finding in findings {
            self.counts.add(finding.severity, 1);
            piece.push(&finding);
        }
        if !piece.findings.is_empty() {
            piece.shrink();
            self.pieces.push(piece);
        }
    }
}

impl FromIterator<Finding> for FindingList {
    fn from_iter<T: IntoIterator<Item = Finding>>(findings: T) -> Self {
        let mut list = Self::default();
        list.extend(findings);
        list
    }
}

impl<'a> FindingRef<'a> {
    /// Returns the severity that the scanner gives.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.packed.severity
    }

    /// Returns the id, mostly a CVE id.
    #[must_use]
    pub fn id(self) -> &'a str {
        self.piece.get(self.packed.id)
    }

    /// Returns the CVSS score, if the scanner gives one.
    #[must_use]
    pub fn score(self) -> Option<Score> {
        self.packed.score
    }

    /// Returns whether there is a fix, or `None` if the scanner does not say.
    #[must_use]
    pub fn fixable(self) -> Option<bool> {
        self.packed.fixable
    }

    /// Returns whether an exploit is known, or `None` if the scanner does not say.
    #[must_use]
    pub fn exploitable(self) -> Option<bool> {
        self.packed.exploitable
    }

    /// Returns when the scanner first saw the finding in this image, in whole seconds, or `None` if
    /// the scanner does not say.
    #[must_use]
    pub fn first_observed(self) -> Option<SystemTime> {
        let seconds = self.packed.first_observed?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.into()))
    }

    /// Returns whether the finding is also in a package that the scanner does not name.
    #[must_use]
    pub fn has_unnamed_package(self) -> bool {
        self.packed.unnamed_package
    }

    /// Iterates over the packages that the scanner names.
    pub fn packages(self) -> impl Iterator<Item = PackageRef<'a>> {
        let Self { piece, packed } = self;
        let (start, count) = packed.packages;
        let start = start as usize;
        let packages = piece.packages.get(start..start + usize::from(count)).unwrap_or_default();
        packages.iter().map(|package| PackageRef {
            name: piece.get(package.name),
            installed: package.installed.map(|place| piece.get(place)),
            fixed: package.fixed.map(|place| piece.get(place)),
        })
    }

    /// Returns the sort key, worst first.
    pub(crate) fn rank(self) -> Rank<'a> {
        let link = self.packed.link.map(|link| self.piece.get(link));
        (
            (self.severity(), Reverse(self.score()), self.id(), self.packages().collect()),
            (self.fixable(), self.exploitable(), self.first_observed(), link),
        )
    }

    /// Copies the finding out of the list.
    #[must_use]
    pub fn to_finding(self) -> Finding {
        let owned = str::to_owned;
        Finding {
            severity: self.severity(),
            id: self.id().to_owned(),
            packages: self
                .packages()
                .map(|PackageRef { name, installed, fixed }| Package {
                    name: name.to_owned(),
                    installed: installed.map(owned),
                    fixed: fixed.map(owned),
                })
                .collect(),
            unnamed_package: self.has_unnamed_package(),
            score: self.score(),
            link: self.packed.link.map(|link| self.piece.get(link).to_owned()),
            fixable: self.fixable(),
            exploitable: self.exploitable(),
            first_observed: self.first_observed(),
        }
    }
}

#[cfg(test)]
mod tests;
