//! The page of `tagwarden plan --html`, in a real browser: it fits a telephone and a desk, does
//! nothing on its own, shows hostile texts as texts, and is whole on paper.
//!
//! Chromium is Debian's package `chromium`. Without it these tests are skipped and say so.

mod browser;
mod documents;
mod pictures;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use browser::Browser;
use serde_json::{Value, json};
use tagwarden::sweep::{Document, plan_page};

use crate::python::Python;

const MEASURE: &str = include_str!("page/measure.js");
const READING: &str = include_str!("page/reading.js");
const BACKGROUND: &str = "getComputedStyle(document.body).backgroundColor";
/// The names of all elements, and of their attributes.
const ELEMENTS: &str = "[...document.querySelectorAll('*')]\
    .map(one => [one.localName, ...one.getAttributeNames()].join(' '))";

/// Writes the page of a document to a file of this name.
fn written(name: &str, document: &Document) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{name}.html"));
    std::fs::write(&file, plan_page(document)).expect("a file");
    file
}

/// Texts that would do something in a page that is not escaped.
const HOSTILE: &str = "\"'></title></style></summary></details></table>\
    <script>window.done = 1; alert(1)</script><img src=x onerror='window.done = 2'>\
    <svg onload=window.done=3><a href=javascript:alert(4)>click</a><iframe src=//evil.example>\
    <style>*{display:none}</style><meta http-equiv=refresh content='0;url=//evil.example'>\
    {{7*7}}{%raw%}&lt;b&gt;]]>--><!--\u{202e}reversed\u{2066}\u{200b}\u{0}\u{1b}[2J\n";

#[test]
fn page_counts_what_it_leaves_out() {
    let page = plan_page(&documents::huge());
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
    assert_eq!(page.matches("<details").count(), 500, "images that are described whole");
    for of in [
        "would remove 7,960 tags from 3,000 images in 150 repositories.",
        "<strong>1,500 images would be deleted</strong>",
        "And 500 more images, which this page leaves out.",
        "And 390 more repositories with such images, which",
        "And 100 more repositories, which",
        "and 60 more</span>",
    ] {
        assert!(page.contains(of), "{of}");
    }
    let page = plan_page(&documents::failed());
    for of in ["The plan is not complete.", "And 100 more failures", "and 40 more</dd>", "team/*"] {
        assert!(page.contains(of), "{of}");
    }
}

#[test]
fn page_names_images_findings_fixes_and_gaps() {
    let page = plan_page(&documents::usual());
    let words = |page: &str| {
        let text: Vec<_> = page.split('<').filter_map(|tag| tag.split_once('>')).collect();
        text.into_iter().flat_map(|(_, text)| text.split_whitespace()).collect::<Vec<_>>().join(" ")
    };
    let text = words(&page);
    for of in [
        "would remove 10 tags from 6 images in 4 repositories. Nothing was changed.",
        "9,812 tagged images in 214 repositories 6 would lose tags",
        "412 no scan covers 1 could not be inspected",
        "Never scanned 380 3.9 %",
        "medium 5,120 2,222",
        "team/shop/frontend 1 4 31",
        "2026-11-20 2026-11-20-rc1 latest 4 critical 31 high 112 medium 3 days old Why",
        "Tags that stay prod-eu",
        "181.9 MB, pushed 2026-11-27 04:05:06 UTC Rule base",
        "critical 9.8 CVE-2021-44228 log4j-core 2.14.1 2.17.1",
        "high 7.5 CVE-2026-0003 zlib 1.2.11 no fix known",
        "And 144 more findings that count, which the plan does not name.",
        "in use: 2 other images are left, 3 are required",
        "team/legacy 382 Never scanned: 380 Enhanced scanning has stopped: 2",
        "team/secret repository ecr:DescribeImages: AccessDeniedException",
        "team/new 1 image",
        "Policy tagwarden.toml Fingerprint 1f2e5c7a90b3",
    ] {
        assert!(text.contains(&of.replace('>', "&#62;")), "{of} is not in {text}");
    }
    assert!(
        words(&plan_page(&documents::empty())).contains("removes no tags. Nothing was changed.")
    );
    // A name alone is ambiguous in a plan of several registries.
    let text = words(&plan_page(&documents::two_regions()));
    assert!(text.contains("What tagwarden would change in 2 registries"), "{text}");
    assert!(text.contains("team/web in 111122223333 eu-west-1"), "{text}");
}

#[test]
fn page_fits_telephones_and_desks() {
    let Some(mut browser) = Browser::start() else { return };
    let long = "unbreakable".repeat(100);
    let documents = [
        ("usual", documents::usual()),
        ("empty", documents::empty()),
        ("failed", documents::failed()),
        ("huge", documents::huge()),
        ("long", documents::filled_with(&long)),
        ("hostile", documents::filled_with(HOSTILE)),
    ];
    for (name, document) in documents {
        browser.show_at(360, "light");
        browser.open(&written(name, &document));
        for width in [360, 1280] {
            browser.show_at(width, "light");
            let size = browser.value(MEASURE);
            let what = format!("{name} at {width}: {size}");
            assert_eq!((&size["width"], &size["scroll"]), (&json!(width), &json!(width)), "{what}");
            assert_eq!((&size["wide"], &size["full"]), (&json!([]), &json!([])), "{what}");
            assert_eq!(size["colour"], "rgb(255, 255, 255)", "its style is in force: {what}");
            assert_eq!(browser.acts(), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let Some(mut browser) = Browser::start() else { return };
    let elements = |browser: &mut Browser, text: &str| {
        browser.open(&written("text", &documents::filled_with(text)));
        browser.value(ELEMENTS)
    };
    let harmless = elements(&mut browser, "harmless");
    assert_eq!(elements(&mut browser, HOSTILE), harmless);
    assert_eq!(browser.value("window.done"), Value::Null);
    assert_eq!(browser.acts(), Vec::<String>::new());
    let shown = browser.value("document.body.textContent");
    let shown = shown.as_str().expect("a text");
    let visible = "--><!--\\u202ereversed\\u2066\\u200b\\u0000\\u001b[2J\\u000a";
    assert!(shown.contains("<script>window.done = 1; alert(1)</script>"), "{shown}");
    assert!(shown.contains(visible), "{shown}");
    let links = browser.value("[...document.links].map(one => one.getAttribute('href'))");
    let links = links.as_array().expect("links");
    assert!(links.iter().all(|link| link.as_str().is_some_and(|link| link.starts_with('#'))));
}

#[test]
fn page_is_readable_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    for (name, document) in [("read", documents::usual()), ("unread", documents::failed())] {
        let file = written(name, &document);
        for (scheme, background) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")] {
            browser.show_at(1280, scheme);
            browser.open(&file);
            assert_eq!(browser.value(BACKGROUND), background);
            let reading = browser.value(READING);
            assert_eq!(reading["found"], json!([]), "{name} {scheme}: {reading}");
            assert!(reading["least"].as_f64().is_some_and(|least| least < 21.0), "{reading}");
        }
    }
}

#[test]
fn page_is_whole_and_light_on_paper() {
    let Some(mut browser) = Browser::start() else { return };
    let Some(python) = Python::with(&["pypdf==7.1.0"]) else { return };
    // The colours of a reader who likes it dark.
    browser.show_at(1280, "dark");
    browser.open(&written("many", &documents::many()));
    assert_eq!(browser.value("document.querySelectorAll('details[open]').length"), 0);
    let pdf = browser.pdf();
    let mut reader = python
        .command()
        .args(["-c", READ_PDF])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    reader.stdin.take().expect("a pipe").write_all(pdf.as_bytes()).expect("Python reads");
    let printed = reader.wait_with_output().expect("Python ends");
    assert!(printed.status.success());
    // Lines and pages break where they like.
    let text: String = String::from_utf8_lossy(&printed.stdout).split_whitespace().collect();
    for at in 0..30 {
        for of in ["team/service-", "tag-", "CVE-2026-90", "sha256:", "7."] {
            let of = match of {
                "sha256:" => format!("sha256:{at:064x}"),
                "7." => format!("7.{at:02}.1"),
                of => format!("{of}{at:02}"),
            };
            assert!(text.contains(&of), "{of} is not in the PDF: {text}");
        }
    }
    for of in ["Thisplanwouldremove30tagsfrom30images", "tagwardenapplyplan.json"] {
        assert!(text.contains(of), "{of} is not in the PDF: {text}");
    }
    assert!(!text.contains("Worstrepositories"), "the links between the parts are of no use");

    let dark = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print", "features": dark}));
    let paper = browser.value(BACKGROUND);
    assert_eq!(paper, "rgb(255, 255, 255)");
}

/// Prints the text of a PDF.
const READ_PDF: &str = "\
import base64, io, sys, pypdf
pdf = pypdf.PdfReader(io.BytesIO(base64.b64decode(sys.stdin.read())))
sys.stdout.buffer.write(' '.join(page.extract_text() for page in pdf.pages).encode())
";
