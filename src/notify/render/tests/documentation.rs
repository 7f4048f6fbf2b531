//! docs/notices.md shows what the code renders, and has every field of the document.

use super::*;

/// Returns a page of the documentation.
fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Calls `visit` with the path of each member of a document, such as `image.pull` or `worst[].id`.
fn members(value: &Value, at: &str, visit: &mut impl FnMut(&str)) {
    let dot = if at.is_empty() { "" } else { "." };
    for (key, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}{dot}{key}");
        visit(&at);
        members(value, &at, visit);
    }
    for value in value.as_array().into_iter().flatten() {
        members(value, &format!("{at}[]"), visit);
    }
}

#[test]
fn documentation_shows_real_notices() {
    let page = page("notices.md");
    let rendered = |format| render(&notice(), format, TEAM);
    let text = rendered(NoticeFormat::Text);
    let mail = format!("```text\nSubject: {}\n\n{}```\n", text.subject, text.body);
    assert!(page.contains(&mail), "docs/notices.md has to show:\n{mail}");
    let chat: Value = serde_json::from_str(&rendered(NoticeFormat::Chat).body).unwrap();
    let shown = |key: &str| {
        chat["content"][key].as_str().unwrap().replace('\u{200b}', "").replace("&amp;", "&")
    };
    let chat = format!("```text\n{}\n{}```\n", shown("title"), shown("description"));
    assert!(page.contains(&chat), "docs/notices.md has to show:\n{chat}");
    let restored = render(&sample::restored(), NoticeFormat::Text, TEAM);
    let start = restored.body.split("Update:").next().unwrap();
    let mail = format!("```text\nSubject: {}\n\n{start}...\n```\n", restored.subject);
    assert!(page.contains(&mail), "docs/notices.md has to show:\n{mail}");
    for action in NoticeAction::ALL {
        let subject = render(&sample::of(action), NoticeFormat::Text, NOBODY).subject;
        let subject = subject.split(": ").next().unwrap();
        let row = format!("| `{}` | `{subject}", action.as_str());
        assert!(page.contains(&row), "docs/notices.md has to show: {row}");
    }
}

#[test]
fn documentation_has_every_field_of_the_document() {
    let page = page("notices.md");
    let mut notice = notice();
    notice.cause = Some(Child { digest: digest("b"), platform: Some("linux/arm64".to_owned()) });
    notice.tags.kept = (0..1000).map(|at| Tag::parse(format!("{at:0>300}")).unwrap()).collect();
    let mut found = 0;
    for notice in [notice, sample::restored()] {
        let document = render(&notice, NoticeFormat::Json, TEAM).body;
        let document: Value = serde_json::from_str(&document).unwrap();
        members(&document, "", &mut |path| {
            let is_named = ["cut.", "findings."].iter().any(|start| path.starts_with(start));
            assert!(is_named || page.contains(&format!("| `{path}` |")), "{path} is missing");
            found += 1;
        });
    }
    assert!(found > 80, "{found}");
}
