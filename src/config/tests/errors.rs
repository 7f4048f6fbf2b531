use super::*;

fn error(key: &str, value: &str) -> String {
    one_line(&load(&[(key, value)]).unwrap_err())
}

#[test]
fn errors_in_variables_name_the_key_what_is_wrong_and_what_would_be_right() {
    let cases: &[(&str, &str)] = &[
        ("QUEUE__URL", "tagwarden"),
        ("QUEUE__URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/a.fifo"),
        ("QUEUE__URL", ""),
        ("QUEUE__MAX_IN_FLIGHT", "0"),
        ("QUEUE__MAX_IN_FLIGHT", "many"),
        ("QUEUE__MAX_IN_FLIGHT", "-1"),
        ("QUEUE__VISIBILITY_TIMEOUT", "60"),
        ("QUEUE__VISIBILITY_TIMEOUT", "1s"),
        ("QUEUE__MAX_INFLIGHT", "3"),
        ("NOTIFY__TOPIC_ARN", ""),
        ("NOTIFY__TOPIC_ARN", "tagwarden"),
        ("NOTIFY__TOPIC_ARN", "arn:aws:sns:eu-west-1:111122223333:a.fifo"),
        ("NOTIFY__FORMAT", "html"),
        ("NOTIFY__TOPICS", TOPIC),
        ("POLICY__MODE", "Enforce"),
        ("POLICY__ACTION", "remove"),
        ("POLICY__MAX_FINDINGS", "0"),
        ("POLICY__MAX_FINDINGS__CRITICAL", "-1"),
        ("POLICY__MAX_FINDINGS__CRITICAL", "none"),
        ("POLICY__MAX_FINDINGS__SEVERE", "1"),
        ("POLICY__PROTECTED_TAGS", "a[b"),
        ("POLICY__ACCOUNTS", "1234"),
        ("POLICY__REGIONS", "europe"),
        ("POLICY__INDEX", "every"),
        ("POLICY__KEEP_AT_LEAST", "50"),
        ("POLICY__IN_USE", "keep"),
        ("POLICY__FIXABLE_ONLY", "true"),
        ("POLICY__FIXABLE_ONLY", "all, high"),
        ("POLICY__MIN_SCORE", "11"),
        ("POLICY__MIN_SCORE", "high"),
        ("POLICY__EXPLOIT_ONLY", "yes"),
        ("POLICY__GRACE", "7"),
        ("POLICY__GRACE", "20years"),
        ("POLICY__UNSCANNED", "keep"),
        ("POLICY__REPOSITORIES__ONLY", "a"),
        ("POLICY__RULES__0__MODE", "audit"),
        ("POLICY__EXCEPTIONS", "CVE-2021-44228"),
        ("LIMITS__UNTAGS_PER_HOUR", "0"),
        ("LIMITS__UNTAGS_PER_HOUR", "none"),
        ("LIMITS__UNTAGS_PER_HOUR_PER_REPOSITORY", "-5"),
        ("LIMITS__UNTAGS_PER_DAY", "5"),
        ("LIMITS__TASKS", "0"),
        ("LIMITS__TASKS", "1001"),
        ("LIMITS__TASKS", "all"),
        ("SWEEP__RESCAN_AFTER", "12h"),
        ("SWEEP__RESCAN_AFTER", "always"),
        ("SWEEP__CALLS_PER_SECOND", "0"),
        ("REGISTRY__UNTAG", "digest"),
        ("REGISTRY__RECORDS", "require"),
        ("RESTORE__KEY", "too-short"),
        ("RESTORE__KEY", ""),
        ("RESTORE__KEYS", "x"),
        ("RESTORE__SENDERS", "arn:aws:iam::111122223333:role/operators"),
        ("RESTORE__SENDERS", "aroaexampleid12345678"),
        ("RESTORE__HOLD_SENDERS", "AIDAEXAMPLEID12345678:session"),
        ("RESTORE__HOLD_SENDERS", ","),
        ("RESTORE__MAX_HOLD", "91d"),
        ("RESTORE__MAX_HOLD", "30m"),
        ("AWS__ASSUME_ROLE", "arn:aws:iam::111122223333:role/x"),
        ("AWS__EXTERNAL_ID", "abc"),
        ("HTTP__LISTEN", "8080"),
        ("SHUTDOWN__GRACE", "10m"),
        ("TELEMETRY__LOG_FORMAT", "xml"),
        ("NOSUCH__KEY", "1"),
        ("QUEUE", "x"),
    ];
    let lines: Vec<_> = cases
        .iter()
        .map(|&(key, value)| {
            format!("{key}={value:?}\n  {}", error(&format!("TAGWARDEN__{key}"), value))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn white_space_after_an_arn_or_a_url_is_an_error_that_shows_it() {
    for end in ["\n", "\r", "\r\n", " ", "\t"] {
        for (key, value) in [
            ("NOTIFY__TOPIC_ARN", TOPIC),
            ("QUEUE__URL", QUEUE),
            ("AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden"),
        ] {
            let value = format!("{value}{end}");
            let shown = error(&format!("TAGWARDEN__{key}"), &value);
            assert!(shown.contains(&format!("{value:?}; expected")), "{shown}");
        }
    }
    for name in ["a b", "a.b", "", &"a".repeat(257)] {
        let arn = format!("arn:aws:sns:eu-west-1:111122223333:{name}");
        assert!(load(&[("TAGWARDEN__NOTIFY__TOPIC_ARN", &arn)]).is_err(), "{name}");
    }
}

#[test]
fn errors_in_files_name_the_key_what_is_wrong_and_what_would_be_right() {
    let rule = |line: &str| format!("[[policy.rules]]\nrepositories = ['a']\n{line}");
    let exception = |line: &str| {
        let key = |name: &str, otherwise: &str| {
            let given = line.starts_with(name);
            if given { String::new() } else { format!("{otherwise}\n") }
        };
        let id = if line.starts_with("digest") { String::new() } else { key("id", "id = 'CVE-1'") };
        let rest = [
            key("reason", "reason = 'not reachable'"),
            key("owner", "owner = 'security'"),
            key("expires", "expires = 2026-12-31"),
        ];
        format!("[[policy.exceptions]]\n{id}{}{line}", rest.concat())
    };
    let topic = |line: &str| {
        let other = TOPIC.replace("tagwarden", "other");
        let arn =
            if line.starts_with("arn") { String::new() } else { format!("arn = '{other}'\n") };
        format!("[[notify.topics]]\n{arn}{line}")
    };
    let cases = [
        "policy = 7".to_owned(),
        "policy.protected_tags = 7".to_owned(),
        "policy.accounts = []".to_owned(),
        "policy.accounts = [111122223333]".to_owned(),
        "policy.mode = ['audit']".to_owned(),
        "policy.max_findings = 0".to_owned(),
        "policy.max_findings.high = 1.5".to_owned(),
        "policy.max_findings.high = {}".to_owned(),
        "policy.repository.include = ['a']".to_owned(),
        "Policy.mode = 'audit'".to_owned(),
        "limits = []".to_owned(),
        "[queue\nurl = secret".to_owned(),
        "[policy.rules]\nrepositories = ['a']".to_owned(),
        "policy.rules = ['a']".to_owned(),
        "[[policy.rules]]\nname = 'x'".to_owned(),
        "[[policy.rules]]\nrepositories = []".to_owned(),
        rule("repository = ['b']"),
        rule("exceptions = []"),
        rule("tags = 'a{b'"),
        rule("name = 'base'"),
        rule("name = ''"),
        rule("name = 'x'\n[[policy.rules]]\nrepositories = ['b']\nname = 'x'"),
        rule("mode = true"),
        rule("action = 'none'"),
        rule("max_findings = { high = 'none' }"),
        rule("max_findings = { severe = 1 }"),
        rule("protected_tags = ['a[']"),
        rule("index = 'none'"),
        rule("keep_at_least = -1"),
        rule("in_use = true"),
        rule("fixable_only = true"),
        rule("fixable_only = ['severe']"),
        rule("min_score = 11"),
        rule("exploit_only = 1"),
        rule("grace = 7"),
        rule("unscanned = 'block'"),
        exception("id = ''"),
        exception("id = 'CVE-['"),
        "[[policy.exceptions]]\nreason = 'a'\nowner = 'b'\nexpires = 2026-12-31".to_owned(),
        exception("digest = 'latest'"),
        exception("package = ' '"),
        exception("packages = ['a']"),
        exception("repositories = ['a[']"),
        exception("reason = ''"),
        exception("reason = \"two\\nlines\""),
        exception("owner = ' '"),
        "[[policy.exceptions]]\nid = 'a'\nowner = 'b'\nexpires = 2026-12-31".to_owned(),
        "[[policy.exceptions]]\nid = 'a'\nreason = 'b'\nexpires = 2026-12-31".to_owned(),
        "[[policy.exceptions]]\nid = 'a'\nreason = 'b'\nowner = 'c'".to_owned(),
        exception("expires = 2026-12-31T12:00:00Z"),
        exception("expires = '31.12.2026'"),
        exception("expires = '2026-02-30'"),
        exception("expires = 20261231"),
        exception("until = 2026-12-31"),
        topic("format = 'html'"),
        topic("actions = ['quarantined', 'untagged']"),
        topic("repositories = [1]"),
        topic("topic_arn = 'x'"),
        topic("arn = 'tagwarden'"),
        "[[notify.topics]]\nformat = 'json'".to_owned(),
        format!("[[notify.topics]]\narn = '{TOPIC}'"),
        "[notify.topics]\narn = 'a'".to_owned(),
    ];
    let lines: Vec<_> =
        cases.iter().map(|text| format!("{text}\n  {}", toml_error(text))).collect();
    insta::assert_snapshot!(lines.join("\n\n"));
}

#[test]
fn limits_below_the_number_of_tasks_are_an_error() {
    for key in ["untags_per_hour", "untags_per_hour_per_repository"] {
        let load_with = |limit: &str, tasks: &str| {
            let variable = format!("TAGWARDEN__LIMITS__{}", key.to_uppercase());
            load(&[(variable.as_str(), limit), ("TAGWARDEN__LIMITS__TASKS", tasks)])
        };
        assert_eq!(
            one_line(&load_with("3", "4").unwrap_err()),
            format!(
                "limits.tasks: is 4, so each task may use 3/4 of limits.{key}, \
                 which rounds down to none; expected at most 3 tasks, or at least 4 for \
                 limits.{key}"
            )
        );
        load_with("4", "4").unwrap();
        load_with("unlimited", "1000").unwrap();
    }
}

#[test]
fn a_role_in_another_partition_than_the_topic_is_an_error() {
    let load_with = |topic: &str, role: &str| {
        load(&[("TAGWARDEN__NOTIFY__TOPIC_ARN", topic), ("TAGWARDEN__AWS__ASSUME_ROLE", role)])
    };
    let topic = "arn:aws-us-gov:sns:us-gov-west-1:111122223333:team";
    let role = |partition: &str| format!("arn:{partition}:iam::{{account}}:role/tagwarden");
    load_with(topic, &role("aws-us-gov")).unwrap();
    assert_eq!(
        one_line(&load_with(topic, &role("aws")).unwrap_err()),
        format!(
            "aws.assume_role: is {:?}; expected a role in the same partition as \
             {topic}",
            role("aws")
        )
    );
}

#[test]
fn an_endpoint_together_with_a_kind_of_endpoint_is_an_error() {
    let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
    let sqs = ("AWS_ENDPOINT_URL_SQS", "https://vpce-1.sqs.us-east-1.vpce.amazonaws.com");
    assert_eq!(
        one_line(&load(&[fips, sqs]).unwrap_err()),
        "AWS_USE_FIPS_ENDPOINT and AWS_ENDPOINT_URL_SQS are both set, and the AWS SDK accepts only \
         one of them"
    );
    assert!(load(&[("AWS_USE_DUALSTACK_ENDPOINT", "True"), sqs]).is_err());
    for variables in [
        vec![fips],
        vec![sqs],
        vec![("AWS_USE_FIPS_ENDPOINT", "false"), sqs],
        vec![fips, ("AWS_ENDPOINT_URL", "")],
        vec![fips, sqs, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
    ] {
        load(&variables).unwrap();
    }
}

#[test]
fn the_error_names_the_line_of_an_invalid_number() {
    let text = "[queue]\nurl = \"x\"\nmax_in_flight = 8_\u{fffd}5\n";
    let error = load(&[(TEXT_VARIABLE, text)]).unwrap_err().to_string();
    assert!(error.contains("--> TAGWARDEN_CONFIG_TEXT:3:"), "{error}");
}
