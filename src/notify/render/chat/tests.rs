use super::*;

#[test]
fn markup_in_texts_has_no_effect() {
    let escaped = |text| escaped(text, 100);
    for (text, shown) in [
        ("openssl 3.0.1-r0", "openssl 3.0.1-r0"),
        ("no fix is available (fixable_only)", "no fix is available (fixable_only)"),
        ("a & b <!channel>", "a &amp; b &lt;!channel&gt;"),
        ("@here @babel/core", "@\u{200b}here @\u{200b}babel/core"),
        ("*bold* _italic_ ~gone~", "∗bold∗ ＿italic＿ ∼gone∼"),
        ("`code` a|b", "'code' a¦b"),
        ("[text](https://evil.example)", "［text］(https:/\u{200b}/evil.example)"),
        ("one\ntwo\u{7}\u{202e}three", "one two  three"),
    ] {
        assert_eq!(escaped(text), shown, "{text}");
    }
}

#[test]
fn only_plain_web_links_become_links() {
    let linked = |link| linked(link, 100);
    for (link, shown) in [
        ("https://nvd.nist.gov/vuln/detail/CVE-1", Some("https://nvd.nist.gov/vuln/detail/CVE-1")),
        ("http://a.example/?b=c&d=%20#e", Some("http://a.example/?b=c&amp;d=%20#e")),
        (
            "https://a.example/<!here>|`*_@é",
            Some("https://a.example/%3C%21here%3E%7C%60%2A%5F%40%C3%A9"),
        ),
        ("https://", None),
        ("javascript:alert(1)", None),
        ("", None),
    ] {
        assert_eq!(linked(link).as_deref(), shown, "{link}");
    }
    assert_eq!(linked(&format!("https://{}", "a".repeat(100))), None);
}

#[test]
fn links_and_addresses_of_the_contact_work_and_mentions_do_not() {
    for (contact, shown) in [
        ("#platform-security in Slack", "#platform-security in Slack"),
        ("security@example.com, or me", "security@example.com, or me"),
        ("(see https://wiki.example/x?a=b&c=d).", "(see https://wiki.example/x?a=b&amp;c=d)."),
        ("@here <!channel> *now*", "@\u{200b}here &lt;!channel&gt; \u{2217}now\u{2217}"),
        ("a@b.c@here x@here", "a@\u{200b}b.c@\u{200b}here x@\u{200b}here"),
        ("javascript://x", "javascript:/\u{200b}/x"),
    ] {
        assert_eq!(trusted(contact), shown, "{contact}");
    }
}

#[test]
fn lines_that_do_not_fit_are_left_out_whole() {
    let (x, y) = ("\u{e9}".repeat(2000), "`y`".repeat(700));
    let cut = lines_that_fit(&format!("first\n{x}\n{y}\nlast\n"));
    let note = "(This notice is too long for a channel. Some of its lines are left out.)";
    assert_eq!(cut, format!("first\n{x}\nlast\n{note}\n"));
    let full = lines_that_fit(&format!("{}\n", "z".repeat(MAX_CHARS)));
    assert_eq!(full, format!("{note}\n"));
}
