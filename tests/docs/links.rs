//! Every link and anchor within the repository exists. Nothing is asked of the network.

use std::path::{Component, Path, PathBuf};

use super::pages::{anchors, files, root, split, text, without_code};

/// Returns the targets of the links of a page.
fn targets(page: &str) -> Vec<String> {
    let prose: Vec<_> = split(page).0.into_iter().map(|(_, line)| line).collect();
    let prose = without_code(&prose.join("\n"));
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let html = ["href=\"", "src=\""].iter().flat_map(|name| prose.split(name).skip(1));
    inline
        .chain(defined.map(|(_, target)| target))
        .chain(html.filter_map(|rest| rest.split('"').next()))
        .map(|target| target.split_whitespace().next().unwrap_or_default().to_owned())
        .collect()
}

/// Returns the path without `.` and `..`, unless it leads out of the repository.
fn within(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir => return None,
        }
    }
    Some(clean)
}

/// Returns what is wrong with a link on a page, if anything.
fn problem(page: &str, target: &str) -> Option<String> {
    let is_outside =
        ["https://", "http://", "mailto:"].iter().any(|start| target.starts_with(start));
    if is_outside {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(page).parent().expect("a folder");
    let path = if file.is_empty() { Some(page.into()) } else { within(&folder.join(file)) };
    let Some(path) = path.filter(|path| root().join(path).exists()) else {
        return Some(format!("{page}: no file {target}"));
    };
    let name = path.to_str().expect("UTF-8");
    let is_known = anchor.is_empty()
        || (name.ends_with(".md") && anchors(&text(name)).iter().any(|known| known == anchor));
    (!is_known).then(|| format!("{page}: no section {target}"))
}

#[test]
fn every_link_in_a_page_leads_to_a_file_and_a_section() {
    let (mut links, mut problems) = (0, Vec::new());
    for page in files("", &[".md"]) {
        for target in targets(&text(&page)) {
            links += 1;
            problems.extend(problem(&page, &target));
        }
    }
    assert!(links > 150, "{links}");
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn link_without_a_target_is_a_problem() {
    let wrong = ["nosuch.md", "operations.md#nosuch", "#nosuch", "../../outside.md", "/README.md"];
    for target in wrong {
        assert!(problem("docs/operations.md", target).is_some(), "{target}");
    }
    for target in ["#sweep", "../README.md", "undo.md", "https://example.com/nosuch"] {
        assert_eq!(problem("docs/operations.md", target), None);
    }
}

#[test]
fn every_page_that_code_and_deployment_name_exists() {
    let endings = [".rs", ".py", ".yaml", ".yml", ".toml", ".sh", ".conf", ".json", ".html"];
    let (mut named, mut problems) = (0, Vec::new());
    let is_read = |name: &String| {
        // Neither these tests, which name pages that do not exist, nor what fuzzing has found.
        !["tests/docs/", "tests/fuzz/"].iter().any(|start| name.starts_with(start))
    };
    for file in files("", &endings).into_iter().filter(is_read) {
        let content = text(&file);
        for (at, _) in content.match_indices("docs/") {
            let rest = content.get(at..).unwrap_or_default();
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/._-#".contains(c)));
            let link = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let link = link.trim_end_matches('.');
            if link.contains(".md") {
                named += 1;
                problems.extend(problem("README.md", link).map(|problem| (file.clone(), problem)));
                let after = rest.get(link.len()..).and_then(|rest| rest.strip_prefix(", section "));
                let section = after.and_then(|after| after.split(['.', '\n', '"']).next());
                let section = section.filter(|section| !section.contains('{'));
                if let Some(section) = section {
                    let link = format!("{link}#{}", section.trim().to_lowercase());
                    problems
                        .extend(problem("README.md", &link).map(|problem| (file.clone(), problem)));
                }
            }
        }
    }
    assert!(named > 40, "{named}");
    assert!(problems.is_empty(), "{problems:#?}");
}
