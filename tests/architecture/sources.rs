//! The sources of the program, parsed: which paths each file names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, UseTree, Visibility};

/// One file of `src`.
pub(crate) struct Source {
    /// Its path below `src`.
    pub(crate) file: String,
    /// Its number of lines.
    pub(crate) lines: usize,
    /// Every path that it names outside of tests, with segments joined by `::`.
    pub(crate) paths: BTreeSet<String>,
    /// The names that it re-exports, and the paths that they refer to.
    re_exports: BTreeMap<String, String>,
    /// Whether it has an async function, block or closure.
    pub(crate) is_async: bool,
    /// The types that have methods of their own here.
    pub(crate) impls: BTreeSet<String>,
}

impl Source {
    /// The room: the first folder, or the file that is its facade.
    pub(crate) fn room(&self) -> &str {
        self.file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Its name from outside, such as `queue::sqs`.
    fn name(&self) -> String {
        self.file.trim_end_matches(".rs").replace('/', "::")
    }

    /// The rooms that it imports.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        let inside =
            |path: &'_ String| path.starts_with("crate::") || path.starts_with("tagwarden::");
        let paths = self.paths.iter().filter(move |path| inside(path));
        paths.filter_map(|path| path.split("::").nth(1))
    }

    /// The paths into the files of other rooms, past their facades, as `room::file`.
    pub(crate) fn past_facades(&self, sources: &[Source]) -> BTreeSet<String> {
        let named = |name: &str| sources.iter().find(|source| source.name() == name);
        let all = self.paths.iter().chain(self.re_exports.values());
        let inner = all.filter_map(|path| {
            let mut names = path.strip_prefix("crate::")?.split("::");
            let (room, file) = (names.next()?, names.next()?);
            let inner = format!("{room}::{file}");
            // A facade may re-export an item that is called like its file.
            let is_item = names.next().is_none() && named(room)?.re_exports.contains_key(file);
            (room != self.room() && !is_item && named(&inner).is_some()).then_some(inner)
        });
        inner.collect()
    }

    /// The module's own path, such as `crate::queue::sqs`.
    fn module(&self) -> String {
        let path = self.file.trim_end_matches(".rs");
        match path {
            "lib" | "main" => "crate".to_owned(),
            path => format!("crate::{}", path.replace('/', "::")),
        }
    }

    /// A path with `self` and `super` resolved.
    fn absolute(&self, path: &str) -> String {
        let mut module = self.module();
        let mut rest = path;
        if let Some(after) = rest.strip_prefix("self::") {
            rest = after;
        } else if !rest.starts_with("super::") {
            return rest.to_owned();
        }
        while let Some(after) = rest.strip_prefix("super::") {
            module = module.rsplit_once("::").map_or(module.clone(), |(up, _)| up.to_owned());
            rest = after;
        }
        format!("{module}::{rest}")
    }
}

#[derive(Default)]
struct Paths {
    paths: BTreeSet<String>,
    re_exports: BTreeMap<String, String>,
    is_async: bool,
    impls: BTreeSet<String>,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn flattened(tree: &UseTree, before: &str, found: &mut Vec<(String, String)>) {
    let joined = |name: &str| match before {
        "" => name.to_owned(),
        before => format!("{before}::{name}"),
    };
    match tree {
        UseTree::Path(path) => flattened(&path.tree, &joined(&path.ident.to_string()), found),
        UseTree::Name(name) if name.ident == "self" => {
            let last = before.rsplit("::").next().unwrap_or_default();
            found.push((last.to_owned(), before.to_owned()));
        }
        UseTree::Name(name) => {
            found.push((name.ident.to_string(), joined(&name.ident.to_string())))
        }
        UseTree::Rename(name) => {
            found.push((name.rename.to_string(), joined(&name.ident.to_string())));
        }
        UseTree::Glob(_) => found.push(("*".to_owned(), joined("*"))),
        UseTree::Group(group) => {
            for tree in &group.items {
                flattened(tree, before, found);
            }
        }
    }
}

impl Visit<'_> for Paths {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let mut found = Vec::new();
        flattened(&item.tree, "", &mut found);
        for (name, path) in found {
            if matches!(item.vis, Visibility::Inherited) {
                self.paths.insert(path);
            } else {
                self.re_exports.insert(name, path);
            }
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.paths.insert(segments.collect::<Vec<_>>().join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        // The arguments of a macro are tokens, so paths in them are found by their text.
        let text = item.tokens.to_string().replace(' ', "");
        for root in ["crate::", "self::", "super::"] {
            for (at, _) in text.match_indices(root) {
                let path = text[at..].split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
                self.paths.extend(path.take(1).map(str::to_owned));
            }
        }
        visit::visit_macro(self, item);
    }

    fn visit_signature(&mut self, signature: &syn::Signature) {
        self.is_async |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &syn::ExprAsync) {
        self.is_async = true;
        visit::visit_expr_async(self, expression);
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        if item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
            && let Some(segment) = path.path.segments.last()
        {
            self.impls.insert(segment.ident.to_string());
        }
        visit::visit_item_impl(self, item);
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file holds only tests.
fn is_of_tests(file: &str) -> bool {
    file.split('/').any(|part| part == "tests.rs" || part == "tests")
}

/// Every file of `src`: its path below `src`, and what is in it.
pub(crate) fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let texts = found.iter().map(|path| {
        let file = path.strip_prefix(&root).expect("below src").display().to_string();
        (file, fs::read_to_string(path).expect("a readable file"))
    });
    texts.collect()
}

/// Every file of `src` outside of tests.
pub(crate) fn sources() -> Vec<Source> {
    let parsed = texts().into_iter().filter_map(|(file, text)| {
        if is_of_tests(&file) {
            return None;
        }
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}")));
        let Paths { paths, re_exports, is_async, impls } = paths;
        let lines = text.lines().count();
        Some(Source { file, lines, paths, re_exports, is_async, impls })
    });
    parsed.collect()
}

/// The import cycles between files of one room, each as its files in order.
///
/// A facade that re-exports a file does not depend on that file. A name that is imported from a
/// facade leads to the file that defines it.
pub(crate) fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeMap<_, _> = sources.iter().map(|source| (source.module(), source)).collect();
    let edges: BTreeMap<_, BTreeSet<_>> = sources
        .iter()
        .map(|source| {
            let targets = source.paths.iter().filter_map(|path| {
                let target = defining(&source.absolute(path), &modules)?;
                (target != source.module() && modules.get(&target)?.room() == source.room())
                    .then_some(target)
            });
            (source.module(), targets.collect())
        })
        .collect();
    let mut circles = BTreeSet::new();
    for start in edges.keys() {
        let mut path = vec![start.clone()];
        walk(start, &edges, &mut path, &mut BTreeSet::new(), &mut circles);
    }
    circles.into_iter().collect()
}

/// The module that defines the item of a path.
fn defining(path: &str, modules: &BTreeMap<String, &Source>) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        // The longest prefix of the path that is a module, and the name after it.
        let mut module = path.clone();
        let mut name = String::new();
        while !modules.contains_key(&module) {
            let (up, last) = module.rsplit_once("::")?;
            (name, module) = (last.to_owned(), up.to_owned());
        }
        match modules.get(&module).and_then(|source| source.re_exports.get(&name)) {
            Some(target) => path = modules.get(&module)?.absolute(target),
            None => return Some(module),
        }
    }
    None
}

fn walk(
    start: &str,
    edges: &BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
    circles: &mut BTreeSet<Vec<String>>,
) {
    let here = path.last().expect("a start").clone();
    for next in edges.get(&here).into_iter().flatten() {
        if next == start {
            let least = path.iter().enumerate().min_by_key(|(_, name)| (*name).clone());
            let mut circle = path.clone();
            circle.rotate_left(least.map_or(0, |(at, _)| at));
            circles.insert(circle);
        } else if seen.insert(next.clone()) {
            path.push(next.clone());
            walk(start, edges, path, seen, circles);
            path.pop();
        }
    }
}
