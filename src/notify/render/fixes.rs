//! The packages that have to be updated, and the versions that fix them.

use super::words::{Style, counting, enumerated};
use crate::domain::findings::Package;
use crate::notify::Notice;

/// The maximum number of packages of one finding that are looked at.
const PACKAGES: usize = 20;
/// The maximum number of names, and of versions, in one line.
const NAMES: usize = 4;

/// Packages with the same version that are fixed in the same versions.
#[derive(Debug)]
pub(super) struct Fix<'a> {
    names: Vec<&'a str>,
    installed: Option<&'a str>,
    /// The fixed versions, one for each finding that names another. None is certain to fix all,
    /// because each kind of package orders its versions in its own way.
    fixed: Vec<&'a str>,
}

impl Fix<'_> {
    /// Returns whether a fixed version is known.
    pub(super) fn is_known(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// Returns the packages with their fixed versions in one line.
    pub(super) fn line(&self, style: Style) -> String {
        let most = style.cut.items.min(NAMES);
        let list = |words: &[&str]| enumerated(words, most, ", ", |word| style.text(word));
        let installed = self.installed.map(|installed| format!(" ({})", style.text(installed)));
        let (names, installed) = (list(&self.names), installed.unwrap_or_default());
        match self.fixed.as_slice() {
            [] => format!("{names}{installed}: the scan names no fixed version"),
            fixed => format!("{names}{installed}: fixed in {}", list(fixed)),
        }
    }
}

/// Returns the packages of the findings that are named, those with a fix first.
pub(super) fn fixes(notice: &Notice) -> Vec<Fix<'_>> {
    let mut packages: Vec<Fix<'_>> = Vec::new();
    for package in counting(notice).flat_map(|finding| finding.packages.iter().take(PACKAGES)) {
        let Package { name, installed, fixed } = package;
        let installed = installed.as_deref();
        let known = packages.iter_mut().find(|one| {
            one.installed == installed && one.names.first().is_some_and(|first| *first == name)
        });
        match (known, fixed.as_deref()) {
            (Some(known), Some(fixed)) if !known.fixed.contains(&fixed) => known.fixed.push(fixed),
            (Some(_), _) => {}
            (None, fixed) => packages.push(Fix {
                names: vec![name],
                installed,
                fixed: fixed.into_iter().collect(),
            }),
        }
    }
    let mut fixes: Vec<Fix<'_>> = Vec::new();
    for package in packages {
        let alike =
            |one: &&mut Fix<'_>| one.installed == package.installed && one.fixed == package.fixed;
        match fixes.iter_mut().find(alike) {
            Some(one) => one.names.extend(package.names),
            None => fixes.push(package),
        }
    }
    fixes.sort_by_key(|fix| !fix.is_known());
    fixes
}
