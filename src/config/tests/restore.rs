use super::*;

const SECRET: &str = "hunter2";

#[test]
fn no_mistake_around_the_key_shows_it() {
    let toml = [
        format!("[restore]\nkey = \"{SECRET}\"\n"),
        format!("restore = {{ key = \"{SECRET}\", max_hold = \"1s\" }}\n"),
        format!("restore = \"{SECRET}\"\n"),
        format!("restore = [\"{SECRET}\"]\n"),
        format!("[restore]\nkey = [\"{SECRET}\"]\n"),
        format!("[restore]\nkey = {{ a = \"{SECRET}\" }}\n"),
        format!("[restore]\nkey = \"{SECRET}\nmax_hold = \"7d\"\n"),
        format!("[restore]\nKey = \"{SECRET}\"\n"),
        format!("[restore]\nsecret = \"{SECRET}\"\n"),
        format!("[restor]\nkey = \"{SECRET}\"\n"),
        format!("\"restore.key\" = \"{SECRET}\"\n"),
        format!("restore_key = \"{SECRET}\"\n"),
        format!("[registry]\nkey = \"{SECRET}\"\n"),
    ];
    let json = [format!("{{\"restore\": {{\"key\":\n \"{SECRET}\"}}}}")];
    let yaml = [
        format!("restore:\n  key:\n    {SECRET}\n"),
        format!("restore:\n  key: >\n    a\n    {SECRET}\n"),
        format!("restore:\n  key: '{SECRET}\n"),
    ];
    for (extension, texts) in [(".toml", &toml[..]), (".json", &json), (".yaml", &yaml)] {
        for text in texts {
            let error = load_file(extension, text).unwrap_err().to_string();
            assert!(!error.contains(SECRET), "{text}: {error}");
            assert!(error.contains(extension), "the place is named: {error}");
        }
    }
    let error = load(&[("TAGWARDEN__RESTORE__KEY", SECRET)]).unwrap_err().to_string();
    assert!(!error.contains(SECRET) && error.contains("TAGWARDEN__RESTORE__KEY"), "{error}");
    let list = format!("{KEY} {SECRET}");
    let error = load(&[("TAGWARDEN__RESTORE__KEY", &list)]).unwrap_err().to_string();
    assert!(!error.contains(SECRET) && !error.contains(KEY), "{error}");
}

#[test]
fn other_lines_of_the_section_are_shown() {
    let error = load_file(".toml", "[restore]\nmax_hold = \"1y\"\n").unwrap_err().to_string();
    assert!(error.contains("max_hold = \"1y\""), "{error}");
    let error = load_file(".toml", "[restore]\nsenders = [\"me\"]\n").unwrap_err().to_string();
    assert!(error.contains("senders = [\"me\"]"), "{error}");
}

#[test]
fn settings_and_their_listing_hide_the_key() {
    let sources = sources(&[("TAGWARDEN__RESTORE__KEY", KEY)]);
    let settings = Settings::load(&sources).unwrap();
    assert!(!format!("{settings:?}").contains(KEY));
    let entries = effective(&sources).unwrap();
    let entry = entries.iter().find(|entry| entry.key == "restore.key").unwrap();
    assert_eq!(
        (entry.value.as_str(), entry.origin.to_string().as_str()),
        ("(set)", "TAGWARDEN__RESTORE__KEY")
    );
}

#[test]
fn a_list_of_a_hundred_senders_is_the_longest() {
    load(&[("TAGWARDEN__RESTORE__SENDERS", &many_roles(100).join(","))]).unwrap();
    let error = load(&[("TAGWARDEN__RESTORE__SENDERS", &many_roles(101).join(","))]).unwrap_err();
    assert_eq!(one_line(&error), "restore.senders: has 101 items; expected at most 100");
}

#[test]
fn holds_last_from_an_hour_to_ninety_days() {
    for (written, hours) in [("1h", 1), ("60m", 1), ("90d", 90 * 24)] {
        let settings = load(&[("TAGWARDEN__RESTORE__MAX_HOLD", written)]).unwrap();
        assert_eq!(settings.restore.max_hold, Duration::from_secs(hours * 3600));
    }
}

#[test]
fn a_role_that_is_listed_twice_counts_once() {
    let role = &many_roles(1)[0];
    let settings = load(&[("TAGWARDEN__RESTORE__SENDERS", &format!("{role},{role}"))]).unwrap();
    let senders: Vec<_> = settings.restore.senders.iter().map(|id| id.as_str()).collect();
    assert_eq!(senders, [role]);
}
