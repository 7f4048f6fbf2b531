//! The pages of the repository, taken apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of a file of the repository.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the names of all files with one of these endings, relative to the repository. Build
/// results are left out.
pub(crate) fn files(below: &str, endings: &[&str]) -> Vec<String> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                let is_ours = !name.starts_with('.') || [".github", ".ci"].contains(&name);
                if is_ours && !["target", "book"].contains(&name) {
                    visit(&path, found);
                }
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(below), &mut found);
    let relative = found.iter().filter_map(|path| path.strip_prefix(root()).ok()?.to_str());
    let mut names: Vec<_> = relative
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// A fenced block: the word after its fence, and its text without the block's indentation.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// Returns the lines of a page outside fenced blocks with their numbers, and the blocks.
pub(crate) fn split(page: &str) -> (Vec<(usize, &str)>, Vec<Block>) {
    let (mut prose, mut blocks) = (Vec::new(), Vec::new());
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let content = line.trim_start();
        match &mut open {
            Some((_, block)) if content.trim_end() == "```" => {
                let text = std::mem::take(&mut block.text);
                blocks.push(Block { language: std::mem::take(&mut block.language), text });
                open = None;
            }
            Some((indent, block)) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            None => match content.strip_prefix("```") {
                Some(language) => {
                    let language = language.trim().to_owned();
                    let block = Block { language, text: String::new() };
                    open = Some((line.len() - content.len(), block));
                }
                None => prose.push((number, line)),
            },
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    (prose, blocks)
}

/// Returns the anchors of a page: its headings as GitHub and mdBook name them, and explicit ones.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in split(page).0 {
        let text = line.trim_start_matches('#');
        if text.len() < line.len() && text.starts_with(' ') {
            let kept = text.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let before = seen.entry(anchor.clone()).or_default();
            *before += 1;
            let number = *before - 1;
            anchors.push(if number == 0 { anchor } else { format!("{anchor}-{number}") });
        }
        for id in line.split("<a id=\"").skip(1) {
            anchors.push(id.split('"').next().unwrap_or_default().to_owned());
        }
    }
    anchors
}

/// Returns a text without its code spans.
pub(crate) fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("code")
}
