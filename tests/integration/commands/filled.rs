//! A registry that was filled before the worker existed, for `plan` and `apply`.

use std::collections::BTreeMap;

use aws_sim::{RepoKey, ScanResult};
use serde_json::Value;
use tempfile::TempDir;

use super::support::{Shown, World};

pub(crate) fn critical() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 1)])
}

pub(crate) fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 2)])
}

pub(crate) struct Filled {
    pub(crate) world: World,
    pub(crate) other: RepoKey,
    folder: TempDir,
    pub(crate) bad: String,
}

impl Filled {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// Uses this configuration. The variables of the world set the mode to `enforce`.
    pub(crate) async fn with(config: &str) -> Self {
        let world = World::with(config).await;
        let other = world.sim.create_repository("team/other");
        let bad = world.image(&["1.0", "latest"], critical());
        world.image(&["1.1"], clean());
        world.image(&["0.9"], ScanResult::status("UNSUPPORTED_IMAGE"));
        world.sim.push_image(&world.repository, &["0.8"], "never scanned");
        let child = world.image(&[], critical());
        world.sim.push_index(&world.repository, &["2.0"], &[(child.as_str(), "linux/amd64")]);
        let last = world.sim.push_image(&other, &["1.0"], "another one");
        world.sim.set_findings(&other, &last, ScanResult::basic(&[("HIGH", 3)]));
        let folder = tempfile::tempdir().expect("a folder");
        Self { world, other, folder, bad }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// The names of the files that the commands have left.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut files: Vec<_> = entries.map(name).collect();
        files.sort();
        files
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.world.variables.insert(variable.to_owned(), value.to_owned());
    }

    pub(crate) async fn plan(&self, arguments: &[&str]) -> Shown {
        self.world.run(&[&["plan"], arguments].concat(), "").await
    }

    /// Saves a plan.
    pub(crate) async fn saved(&self) -> String {
        let file = self.file("plan.json");
        let shown = self.plan(&["--out", &file]).await;
        assert_eq!(shown.code, 3, "{shown:?}");
        file
    }

    /// Applies a plan without asking.
    pub(crate) async fn apply(&self, file: &str, arguments: &[&str]) -> Shown {
        self.world.run(&[&["apply", file, "--yes"], arguments].concat(), "").await
    }

    /// Makes a plan and applies it.
    pub(crate) async fn plan_and_apply(&self) -> Shown {
        let file = self.saved().await;
        self.apply(&file, &[]).await
    }

    /// Every tag of both repositories, with the image that it refers to.
    pub(crate) fn tags(&self) -> Vec<BTreeMap<String, String>> {
        let of = |repository| self.world.sim.repository_tags(repository).into_iter().collect();
        [&self.world.repository, &self.other].map(of).into()
    }

    /// The tags that people pull.
    pub(crate) fn pulled(&self) -> Vec<Vec<String>> {
        let ours = |tag: &String| !tag.starts_with("quarantine-");
        self.tags().into_iter().map(|tags| tags.into_keys().filter(ours).collect()).collect()
    }
}

/// The images of a plan: repository, first tag and verdict.
pub(crate) fn verdicts(document: &Value) -> Vec<(&str, &str, &str)> {
    let images = document["images"].as_array().expect("images");
    images
        .iter()
        .map(|image| {
            let word = |name: &str| image[name].as_str().unwrap_or_default();
            (word("repository"), image["tags"][0].as_str().unwrap_or_default(), word("verdict"))
        })
        .collect()
}
