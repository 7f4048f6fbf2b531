//! The hostile texts, the events that carry them, and what no output may show of them.

use std::fs;

use serde_json::{Value, json};

/// Texts that somebody might write in place of a name.
const TEXTS: [&str; 18] = [
    "\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "a\r\nb\rc",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[31m",
    "\0",
    "\u{9b}31m\u{85}\u{7f}\u{8}",
    "a\u{2028}b\u{2029}c",
    "\u{202e}gpj.exe\u{2066}",
    "\u{200b}\u{200d}\u{feff}\u{ad}\u{61c}",
    "\u{e0001}\u{e0041}",
    "`code` ```\nfence\n```",
    "<!channel> <@U024BE7LH> @here @channel",
    "[text](javascript:alert(1))",
    "<https://evil.example|click>",
    "*bold* _it_ ~gone~ a|b \\",
    "&lt;script&gt;&#x1b;",
    "\\u001b[31m\\n",
    "\"}\n{\"",
    "%s %n {} {0} ${jndi:ldap://evil.example} $(reboot) `reboot`",
];

/// The texts, and a long one.
pub(crate) fn texts() -> Vec<String> {
    let long = "\u{1b}[31mlong\n".repeat(20_000);
    TEXTS.iter().map(|text| (*text).to_owned()).chain([long]).collect()
}

/// The same texts, several combined, for tests in which each costs a world or a process. None
/// exceeds the 256 characters of a finding's text.
pub(crate) fn texts_in_bulk() -> Vec<String> {
    let texts = texts();
    let (long, short) = texts.split_last().expect("texts");
    short.chunks(4).map(<[String]>::concat).chain([long.clone()]).collect()
}

/// One event of every family.
pub(crate) fn families() -> Vec<Value> {
    let names = [
        "basic.complete.critical_high",
        "inspector2_scan.critical",
        "inspector2_finding.active.critical",
        "ecr_image_action.push.tag",
    ];
    let read = |name| {
        let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&fs::read_to_string(path).expect("a fixture")).expect("JSON")
    };
    names.map(read).into()
}

/// The places of all values in a document, without the document itself.
pub(crate) fn places(document: &Value) -> Vec<String> {
    let members: Vec<(String, &Value)> = match document {
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), member)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    let below = members.into_iter().flat_map(|(name, member)| {
        let name = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let mut all: Vec<_> =
            places(member).into_iter().map(|place| format!("{name}{place}")).collect();
        all.push(name);
        all
    });
    below.collect()
}

/// The document with another value at one place.
pub(crate) fn with(document: &Value, place: &str, value: Value) -> Value {
    let mut changed = document.clone();
    *changed.pointer_mut(place).expect("a place that is there") = value;
    changed
}

/// Every event with one of its texts replaced by this text.
pub(crate) fn events_with(text: &str) -> Vec<Value> {
    let mut events = Vec::new();
    for family in families() {
        for place in places(&family) {
            if family.pointer(&place).is_some_and(Value::is_string) {
                events.push(with(&family, &place, json!(text)));
            }
        }
    }
    events
}

/// The first invisible character that is not in the list.
pub(crate) fn unseen(text: &str, but: &[char]) -> Option<char> {
    let acts = |c: &char| {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().find(|c| acts(c) && !but.contains(c))
}
