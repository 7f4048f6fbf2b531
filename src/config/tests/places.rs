//! Each mistake in a file names the key, the file, the line and what would be right.

use super::*;

/// A file, the line of its mistake, the key, and a word of the remedy.
type Case = (&'static str, usize, &'static str, &'static str);

const TOML: &[Case] = &[
    ("[policy]\nmod = \"audit\"", 2, "policy.mod", "did you mean `mode`?"),
    ("[policy]\nmode = \"Audit\"", 2, "policy.mode", "did you mean `audit`?"),
    ("[policy]\nmode = \"dry-run\"", 2, "policy.mode", "expected enforce or audit"),
    ("[policy]\nmode = true", 2, "policy.mode", "expected enforce or audit"),
    ("mode = \"audit\"", 1, "mode", "did you mean `policy.mode`?"),
    ("[polcy]\nmode = \"audit\"", 1, "polcy", "did you mean `policy`?"),
    ("[policy]\nprotected_tag = [\"prod-*\"]", 2, "policy.protected_tag", "`protected_tags`"),
    ("[policy]\nprotectedTags = [\"a\"]", 2, "policy.protectedTags", "`protected_tags`"),
    ("[policy]\nprotected_tags = 7", 2, "policy.protected_tags", "expected a list of strings"),
    ("[policy]\nprotected_tags = [1]", 2, "policy.protected_tags", "expected a list of strings"),
    ("[policy]\nprotected_tags = [\"a[\"]", 2, "policy.protected_tags", "such as release-*"),
    ("[policy]\ninclude = [\"team/*\"]", 2, "policy.include", "`policy.repositories.include`"),
    ("[policy]\nrepositories = [\"team/*\"]", 2, "policy.repositories", "expected a table"),
    ("[policy.max_findings]\nCRITICAL = 0", 2, "policy.max_findings.CRITICAL", "`critical`"),
    ("[policy.max_findings]\nhigh = -1", 2, "policy.max_findings.high", "a whole number from 0"),
    ("[policy.max_findings]\nhigh = \"none\"", 2, "policy.max_findings.high", "or unlimited"),
    ("[policy]\nmax_findings = 0", 2, "policy.max_findings", "expected a table of keys"),
    ("[policy]\naction = \"remove\"", 2, "policy.action", "expected quarantine or delete"),
    ("[policy]\ngrace = 7", 2, "policy.grace", "a duration with its unit such as 7d"),
    ("[policy]\ngrace = \"1 month ago\"", 2, "policy.grace", "a duration with its unit"),
    ("[policy]\nkeep_at_least = 50", 2, "policy.keep_at_least", "from 0 to 49"),
    ("[policy]\nmin_score = 70", 2, "policy.min_score", "a number from 0 to 10"),
    ("[policy]\nfixable_only = true", 2, "policy.fixable_only", "expected none, all, or a list"),
    ("[policy]\naccounts = [111122223333]", 2, "policy.accounts", "expected a list of strings"),
    ("[policy]\naccounts = [\"1234\"]", 2, "policy.accounts[0]", "12 digits"),
    (
        "[policy]\naccounts = [\n\"111122223333\",\n\"12345678901\",\n]",
        4,
        "policy.accounts[1]",
        "`012345678901`",
    ),
    (
        "[policy]\naccounts = \"111122223333, 4444-5555-6666\"",
        2,
        "policy.accounts[1]",
        "`444455556666`",
    ),
    ("[policy]\naccounts = [\n111122223333]", 2, "policy.accounts", "write it in quotes"),
    ("[policy]\naccounts = 111122223333", 2, "policy.accounts", "expected a list of strings"),
    ("[policy]\nregions = [\"europe\"]", 2, "policy.regions[0]", "such as eu-west-1"),
    ("[policy]\nregions = [\n\"EU-West-1\"]", 3, "policy.regions[0]", "did you mean `eu-west-1`?"),
    (
        "[[policy.rules]]\nrepositories = [\"a\"]\naccounts = [\n\"111122223333\",\n\"11112222333\",\n]",
        5,
        "policy.rules[0].accounts[1]",
        "12 digits",
    ),
    (
        "[[policy.exceptions]]\nid = \"CVE-1\"\nregions = [\"frankfurt\"]\nreason = \"r\"\nowner = \"o\"\n\
         expires = 2026-12-31",
        3,
        "policy.exceptions[0].regions[0]",
        "such as eu-west-1",
    ),
    (
        "[[notify.topics]]\narn = \"arn:aws:sns:eu-west-1:111122223333:t\"\nseverities = [\"kritical\"]",
        3,
        "notify.topics[0].severities",
        "did you mean `critical`?",
    ),
    (
        "[[policy.rules]]\nrepositories = [\"a\"]\naccounts = []",
        3,
        "policy.rules[0].accounts",
        "leave it out",
    ),
    ("[policy]\naccounts = []", 2, "policy.accounts", "leave it out for the default"),
    ("[policy.rules]\nrepositories = [\"a\"]", 1, "policy.rules", "[[policy.rules]]"),
    ("[[policy.rules]]\nname = \"x\"", 1, "policy.rules[0].repositories", "is missing"),
    (
        "[[policy.rules]]\nrepositories = [\"a\"]\n[[policy.rules]]\nrepository = [\"b\"]\n\
         repositories = [\"b\"]",
        4,
        "policy.rules[1].repository",
        "did you mean `repositories`?",
    ),
    (
        "[[policy.exceptions]]\nid = \"CVE-1\"\nreason = \"r\"\nowner = \"o\"",
        1,
        "policy.exceptions[0].expires",
        "such as 2026-12-31",
    ),
    (
        "[[policy.exceptions]]\nid = \"CVE-1\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"soon\"",
        5,
        "policy.exceptions[0].expires",
        "such as 2026-12-31",
    ),
    (
        "[[policy.exceptions]]\ncve = \"CVE-1\"\nid = \"CVE-1\"\nreason = \"r\"\nowner = \"o\"\n\
         expires = 2026-12-31",
        2,
        "policy.exceptions[0].cve",
        "the keys here are",
    ),
    ("[limits]\nuntags_per_hour = 0", 2, "limits.untags_per_hour", "use policy.mode"),
    ("[limits]\ntags_per_hour = 5", 2, "limits.tags_per_hour", "did you mean `untags_per_hour`?"),
    ("[aws]\nassume_role = \"arn:aws:iam::1:role/x\"", 2, "aws.assume_role", "{account}"),
    ("[http]\nlisten = 8080", 2, "http.listen", "0.0.0.0:8080"),
    ("[shutdown]\ngrace = \"5m\"", 2, "shutdown.grace", "from 2s to 2m"),
    ("[telemetry]\nlog_format = \"text\"", 2, "telemetry.log_format", "expected json or pretty"),
    ("[sweep]\nrescan_after = \"1h\"", 2, "sweep.rescan_after", "from 1day"),
];

const YAML: &[Case] = &[
    ("policy:\n  mod: audit\n", 2, "policy.mod", "did you mean `mode`?"),
    ("policy:\n  max_findings:\n    high: many\n", 3, "policy.max_findings.high", "or unlimited"),
    ("policy:\n  rules:\n    - name: é\n", 3, "policy.rules[0].repositories", "is missing"),
    ("policy:\n  protected_tags: [prod-*, 'é[']\n", 2, "policy.protected_tags", "release-*"),
    (
        "policy:\n  accounts:\n    - '111122223333'\n    - 012345678901\n",
        2,
        "policy.accounts",
        "write it in quotes",
    ),
    ("policy:\n  accounts: 012345678901\n", 2, "policy.accounts", "expected a list of strings"),
    ("limits: [1]\n", 1, "limits", "expected a table of keys"),
];

const JSON: &[Case] = &[
    ("{\n\t\"policy\": {\n\t\t\"mod\": \"audit\"\n\t}\n}", 3, "policy.mod", "`mode`"),
    ("{\"policy\":\n {\"grace\": 7}}", 2, "policy.grace", "a duration with its unit"),
    ("{\"notify\":\n {\"topics\": [{\"format\": \"json\"}]}}", 2, "notify.topics[0].arn", "ARN"),
];

#[test]
fn each_mistake_in_a_file_names_key_file_line_and_remedy() {
    for (extension, cases) in [(".toml", TOML), (".yaml", YAML), (".json", JSON)] {
        for &(text, line, key, remedy) in cases {
            let file = file(extension, text);
            let sources = Sources { file: Some(file.path().to_owned()), ..only(&[]) };
            let error = JudgingSettings::load(&sources).unwrap_err();
            let message = one_line(&error);
            assert!(message.starts_with(&format!("{key}: ")), "{text}: {message}");
            let shown = error.to_string();
            assert!(shown.contains(remedy), "{text}: {shown}");
            let place = format!("--> {}:{line}:", file.path().display());
            assert!(shown.contains(&place), "{text}: {shown}");
            let quoted = text.lines().nth(line - 1).unwrap().replace('\t', "    ");
            assert!(shown.contains(quoted.trim_end()), "{text}: {shown}");
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_shown_in_its_order() {
    let text = "[policy]\nmode = \"of\"\n[queue]\nmax_in_flight = 0\n[[policy.exceptions]]\n\
                id = \"CVE-1\"\nexpires = \"x\"\n";
    let file = file(".toml", text);
    let sources = Sources { file: Some(file.path().to_owned()), ..only(&[]) };
    let error = JudgingSettings::load(&sources).unwrap_err();
    let shown = error.to_string().replace(&file.path().display().to_string(), "policy.toml");
    insta::assert_snapshot!(shown);
}

#[test]
fn lines_that_may_hold_a_secret_are_not_shown() {
    let secret = "hunter2";
    for text in [
        format!("[aws]\nexternal_id = \"{secret}\"\n"),
        format!("aws = {{ external_id = \"{secret}\", role = \"x\" }}\n"),
        format!("[aws]\nexternal_id = \"{secret}\n[policy]\n"),
        format!("[aws]\nexternal_id = [\"{secret}\"]\n"),
        format!("[aws]\nexternal-id = \"{secret}\"\n"),
        format!("[aws]\nexternl = \"{secret}\"\n"),
        format!("externalId = \"{secret}\n"),
    ] {
        let error = load_file(".toml", &text).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
        assert!(error.contains(".toml:"), "the place is named: {error}");
    }
    for (extension, text) in [
        (".json", format!("{{\"aws\": {{\"external_id\":\n \"{secret}\"}}}}")),
        (".yaml", format!("aws:\n  external_id:\n    {secret}\n")),
    ] {
        let error = load_file(extension, &text).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
    }
    let error = load(&[(TEXT_VARIABLE, "[policy]\nmod = \"hunter2\"")]).unwrap_err().to_string();
    assert!(!error.contains(secret) && error.contains("TAGWARDEN_CONFIG_TEXT:2:1"), "{error}");
}

#[test]
fn a_key_that_is_given_twice_is_an_error_in_every_format() {
    for (extension, text) in [
        (".toml", "[policy]\nmode = \"audit\"\nmode = \"enforce\""),
        (".yaml", "policy:\n  mode: audit\n  mode: enforce\n"),
        (".json", "{\"policy\": {\"mode\": \"audit\",\n \"mode\": \"enforce\"}}"),
    ] {
        let error = load_file(extension, text).unwrap_err().to_string();
        let line = if extension == ".json" { 2 } else { 3 };
        assert!(error.contains(&format!("{extension}:{line}:")), "{error}");
    }
}

#[test]
fn a_key_with_dots_in_its_name_is_an_error() {
    for (extension, text) in [
        (".toml", "\"policy.mode\" = \"audit\"\n[policy]\nmode = \"enforce\""),
        (".yaml", "policy.protected_tags: []\npolicy: {protected_tags: [prod-*]}\n"),
        (".json", "{\"policy.mode\": \"audit\"}"),
        (".json", "{\"policy.rules[3]\": {}}"),
    ] {
        let error = load_file(extension, text).unwrap_err();
        assert!(one_line(&error).starts_with("no such key as \"policy."), "{error}");
        assert!(error.to_string().contains(&format!("{extension}:1:")), "{error}");
    }
}

#[test]
fn a_list_that_comes_to_nothing_is_an_error() {
    for name in ["REPOSITORIES__INCLUDE", "PROTECTED_TAGS", "ACCOUNTS", "PULL_THROUGH"] {
        for value in [",", " , ", " "] {
            let error = load(&[(&format!("TAGWARDEN__POLICY__{name}"), value)]).unwrap_err();
            assert_eq!(error.messages().count(), 1, "{name}={value:?}: {error}");
        }
    }
    for text in [
        "policy.repositories.include = []",
        "policy.repositories.include = ['']",
        "[[policy.rules]]\nrepositories = ['a']\ntags = []",
        "[[policy.exceptions]]\nid = 'a'\nreason = 'b'\nowner = 'c'\nexpires = 2026-12-31\n\
         repositories = []",
    ] {
        assert_eq!(load(&[(TEXT_VARIABLE, text)]).unwrap_err().messages().count(), 1, "{text}");
    }
    let lifted = "policy.protected_tags = ['a']\n[[policy.rules]]\nrepositories = ['b']\n\
                  protected_tags = []";
    assert!(load_toml(lifted).policy.rules.as_slice()[0].terms.protected_tags.is_empty());
}

#[test]
fn a_file_that_ends_within_a_character_is_an_error_with_its_place() {
    for text in ["{\"policy\": {\"name\": \"café", "{\"a\": \"\\u00é\"}"] {
        let error = load_file(".json", text).unwrap_err();
        assert!(one_line(&error).starts_with("is not valid JSON"), "{error}");
        assert!(error.to_string().contains(".json:1:"), "{error}");
    }
}

#[test]
fn an_account_that_begins_with_zero_and_has_no_quotes_is_advised_to_have_some() {
    let error =
        load_file(".toml", "[policy]\naccounts = [\n012345678901]").unwrap_err().to_string();
    assert!(error.contains("is not valid TOML: unexpected leading zero"), "{error}");
    assert!(error.contains(".toml:3:1") && error.contains("write it in quotes"), "{error}");
    // YAML drops the zero, and says so.
    let error = load_file(".yaml", "policy:\n  accounts: [012345678901]").unwrap_err().to_string();
    assert!(error.contains("holds 12345678901") && error.contains("no leading zeros"), "{error}");
}
