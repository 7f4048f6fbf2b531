//! No mistake of a person or of a script makes a command remove a tag: nothing but `apply`, with a
//! saved plan and an agreement, writes to the registry.

use super::filled::Filled;
use super::support::run;

/// The arguments of a command, and the text on its standard input.
type Attempt<'a> = (&'a [&'a str], &'a str);

#[tokio::test]
async fn no_mistake_removes_a_tag() {
    let filled = Filled::new().await;
    let before = filled.tags();
    let plan = filled.saved().await;
    let empty = filled.file("empty.json");
    std::fs::write(&empty, "").expect("a file");
    let account = "111122223333\n";
    let plan_text = std::fs::read_to_string(&plan).expect("a plan");
    let attempts: &[Attempt<'_>] = &[
        // No file, or none that can be meant.
        (&["apply"], ""),
        (&["apply"], account),
        (&["apply", "--yes"], ""),
        (&["apply", "--yes"], &plan_text),
        (&["apply", ""], ""),
        (&["apply", "", "--yes"], account),
        (&["apply", "--yes", ""], ""),
        (&["apply", " ", "--yes"], ""),
        (&["apply", "-", "--yes"], &plan_text),
        (&["apply", "missing.json", "--yes"], ""),
        (&["apply", ".", "--yes"], ""),
        (&["apply", "/dev/null", "--yes"], ""),
        (&["apply", &empty, "--yes"], ""),
        (&["apply", &plan, &plan, "--yes"], ""),
        // Nobody agrees.
        (&["apply", &plan], ""),
        (&["apply", &plan], "\n"),
        (&["apply", &plan], "y\n"),
        (&["apply", &plan], "yes\n"),
        (&["apply", &plan], account),
        (&["apply", &plan, "--format", "json"], account),
        // Options that do not exist, or that lack their value.
        (&["apply", &plan, "--yess"], account),
        (&["apply", &plan, "-y"], account),
        (&["apply", &plan, "--force"], account),
        (&["apply", &plan, "--all", "--yes"], account),
        (&["apply", &plan, "--repository", "*", "--yes"], account),
        (&["apply", &plan, "--yes=false"], account),
        (&["apply", &plan, "--yes", "--audit-log"], account),
        (&["apply", &plan, "--yes", "--audit-log", ""], account),
        (&["apply", &plan, "--yes", "--audit-log", "/nonexistent/a"], account),
        (&["apply", &plan, "--yes", "--config", ""], account),
        (&["apply", &plan, "--yes", "--config", "missing.toml"], account),
        (&["--config", "", "apply", &plan, "--yes"], account),
        // Commands that once acted, and others that only read.
        (&["sweep"], ""),
        (&["sweep", "--apply"], ""),
        (&["sweep", "--apply", &plan], account),
        (&["plan", "--apply"], account),
        (&["plan", "--yes"], account),
        (&["plan", &plan], account),
        (&["plan", "--out", ""], ""),
        (&["plan", "--html", ""], ""),
        (&["plan", "--repository", ""], ""),
        (&["plan"], account),
        (&["check"], account),
        (&["restore"], account),
        (&["restore", "--yes"], account),
        (&["restore", "--repository", "", "--yes"], account),
        (&["restore", "", "--yes"], account),
        (&[], account),
        (&["--yes"], account),
    ];
    for (arguments, input) in attempts {
        let shown = filled.world.run(arguments, input).await;
        let reads = matches!(arguments.first(), Some(&("plan" | "check")));
        assert!(shown.code == 2 || reads, "{arguments:?} {shown:?}");
        assert_eq!(filled.world.changes(), [] as [&str; 0], "{arguments:?} {input:?} {shown:?}");
    }
    for (variable, value) in [
        ("TAGWARDEN__POLICY__MODE", ""),
        ("TAGWARDEN__POLICY__MODE", "audit"),
        ("TAGWARDEN__POLICY__MODE", "enforced"),
        ("TAGWARDEN__POLICY__KEEP_AT_LEAST", "3"),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__CRITICAL", "5"),
        ("TAGWARDEN__POLICY__TYPO", "x"),
        ("TAGWARDEN_POLICY_MODE", "audit"),
        ("tagwarden__policy__mode", "audit"),
        ("TAGWARDEN__QUEUE__URL", ""),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", ""),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", ""),
    ] {
        let mut variables = filled.world.variables.clone();
        variables.insert(variable.to_owned(), value.to_owned());
        let shown = run(&["apply", &plan, "--yes"], &variables, "").await;
        assert!(shown.code == 2 || variable == "AWS_ACCESS_KEY_ID", "{variable} {shown:?}");
        assert_eq!(filled.world.changes(), [] as [&str; 0], "{variable}={value} {shown:?}");
    }
    assert_eq!(filled.tags(), before);
    // The same plan is carried out if a person asks for it.
    assert_eq!(filled.apply(&plan, &[]).await.code, 0);
    assert_ne!(filled.tags(), before);
}
