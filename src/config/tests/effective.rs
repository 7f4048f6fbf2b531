use super::*;

fn shown(sources: &Sources) -> Vec<Entry> {
    effective(sources).unwrap()
}

fn entry(entries: &[Entry], key: &str) -> (String, String) {
    let found = entries.iter().find(|entry| entry.key == key);
    let entry = found.unwrap_or_else(|| panic!("{key} is not among {entries:#?}"));
    (entry.value.clone(), entry.origin.to_string())
}

fn is(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

#[test]
fn without_any_source_every_key_has_its_default_or_none() {
    let entries = shown(&only(&[]));
    assert_eq!(entry(&entries, "queue.max_in_flight"), is("32", "default"));
    assert_eq!(entry(&entries, "policy.max_findings.critical"), is("0", "default"));
    assert_eq!(entry(&entries, "policy.max_findings.low"), is("\"unlimited\"", "default"));
    assert_eq!(entry(&entries, "policy.fixable_only"), is("\"none\"", "default"));
    assert_eq!(entry(&entries, "policy.exploit_only"), is("false", "default"));
    assert_eq!(entry(&entries, "queue.url"), is("", "not set"));
    assert_eq!(entry(&entries, "policy.rules"), is("", "not set"));
    assert_eq!(entry(&entries, "aws.external_id"), is("", "not set"));
    let schema = schema();
    let keys: Vec<_> = super::schema::leaves(&schema).into_iter().map(|(key, _)| key).collect();
    let keys =
        keys.into_iter().map(|key| key.split_once("[]").map_or(key.clone(), |key| key.0.into()));
    let mut keys: Vec<String> = keys.collect();
    keys.dedup();
    assert_eq!(entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), keys);
}

#[test]
fn the_last_source_wins_and_is_named() {
    let file = file(
        ".toml",
        "[policy]\nmode = 'audit'\naction = 'delete'\nprotected_tags = ['a', 'b']\n\
         exploit_only = true\nmax_findings = { high = 3, low = 7 }\n\
         [aws]\nexternal_id = 'hunter2'\n",
    );
    let name = file.path().display().to_string();
    let mut sources = sources(&[
        ("TAGWARDEN__POLICY__MODE", "enforce"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__HIGH", "5"),
        ("TAGWARDEN__POLICY__ACCOUNTS", "000011112222"),
        ("TAGWARDEN__POLICY__REGIONS", "eu-west-1, us-east-1"),
        ("TAGWARDEN__POLICY__FIXABLE_ONLY", "all"),
        ("TAGWARDEN__POLICY__MIN_SCORE", "7.5"),
        ("TAGWARDEN__POLICY__GRACE", "7d"),
        ("TAGWARDEN__LIMITS__UNTAGS_PER_HOUR", "200"),
    ]);
    sources.file = Some(file.path().to_owned());
    let entries = shown(&sources);
    let entry = |key| entry(&entries, key);
    assert_eq!(entry("queue.url"), is(&format!("{QUEUE:?}"), "TAGWARDEN__QUEUE__URL"));
    assert_eq!(entry("policy.mode"), is("\"enforce\"", "TAGWARDEN__POLICY__MODE"));
    assert_eq!(entry("policy.action"), is("\"delete\"", &name));
    let high = is("5", "TAGWARDEN__POLICY__MAX_FINDINGS__HIGH");
    assert_eq!(entry("policy.max_findings.high"), high);
    assert_eq!(entry("policy.max_findings.low"), is("7", &name));
    assert_eq!(entry("policy.max_findings.critical"), is("0", "default"));
    assert_eq!(entry("policy.protected_tags"), is("[\"a\", \"b\"]", &name));
    assert_eq!(entry("policy.exploit_only"), is("true", &name));
    let accounts = is("[\"000011112222\"]", "TAGWARDEN__POLICY__ACCOUNTS");
    assert_eq!(entry("policy.accounts"), accounts);
    let regions = is("[\"eu-west-1\", \"us-east-1\"]", "TAGWARDEN__POLICY__REGIONS");
    assert_eq!(entry("policy.regions"), regions);
    assert_eq!(entry("policy.fixable_only"), is("\"all\"", "TAGWARDEN__POLICY__FIXABLE_ONLY"));
    assert_eq!(entry("policy.min_score"), is("7.5", "TAGWARDEN__POLICY__MIN_SCORE"));
    assert_eq!(entry("policy.grace"), is("\"7d\"", "TAGWARDEN__POLICY__GRACE"));
    let untags = is("200", "TAGWARDEN__LIMITS__UNTAGS_PER_HOUR");
    assert_eq!(entry("limits.untags_per_hour"), untags);
    assert_eq!(entry("aws.external_id"), is("(set)", &name), "it never reaches a log");
}

#[test]
fn arrays_of_tables_show_only_the_keys_that_are_given() {
    let text = "[[policy.rules]]\nrepositories = ['a', 'b']\nmax_findings = { high = 2 }\n\
                [[policy.rules]]\nname = 'two'\nrepositories = ['c']\nkeep_at_least = 1\n\
                [[policy.exceptions]]\nid = 'CVE-1'\nreason = 'say \"no\"'\nowner = 'o'\n\
                expires = 2026-12-31\n";
    let entries = shown(&sources(&[(TEXT_VARIABLE, text)]));
    assert!(entries.iter().all(|entry| {
        !entry.key.contains('[') || entry.origin == Origin::File(TEXT_VARIABLE.to_owned())
    }));
    let given = entries.iter().filter(|entry| entry.key.contains('['));
    let given: Vec<_> = given.map(|entry| format!("{} = {}", entry.key, entry.value)).collect();
    assert_eq!(
        given,
        [
            r#"policy.exceptions[0].expires = "2026-12-31""#,
            r#"policy.exceptions[0].id = "CVE-1""#,
            r#"policy.exceptions[0].owner = "o""#,
            r#"policy.exceptions[0].reason = "say \"no\"""#,
            r#"policy.rules[0].max_findings.high = 2"#,
            r#"policy.rules[0].repositories = ["a", "b"]"#,
            r#"policy.rules[1].keep_at_least = 1"#,
            r#"policy.rules[1].name = "two""#,
            r#"policy.rules[1].repositories = ["c"]"#,
        ]
    );
    assert!(!entries.iter().any(|entry| entry.key == "policy.rules"));
    assert!(entries.iter().any(|entry| entry.key == "notify.topics"));
}

#[test]
fn invalid_values_are_shown() {
    let entries = shown(&only(&[("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "many")]));
    let many = is("\"many\"", "TAGWARDEN__QUEUE__MAX_IN_FLIGHT");
    assert_eq!(entry(&entries, "queue.max_in_flight"), many);
}
