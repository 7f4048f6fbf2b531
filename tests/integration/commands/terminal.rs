//! What `plan`, `apply` and `restore` show and ask at a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;

use aws_sim::{Finding, ScanResult};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncReadExt as _;

use super::filled::Filled;
use super::operator::{Answer, Quarantine};
use super::quarantine::{hold, night};
use super::support::Shown;
use crate::process::{Signal, Variables, send_signal, tagwarden, within_deadline};

/// A terminal of this width: where people are, and where programs are.
pub(super) fn terminal(width: u16) -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("a terminal");
    let size = Winsize { ws_row: 24, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master.as_fd(), size).expect("a size");
    (master, slave)
}

/// Runs a command at a terminal of this width on which somebody types a text. Standard error is a
/// pipe.
pub(super) async fn at_terminal(
    arguments: &[&str],
    variables: &Variables,
    width: u16,
    text: &str,
) -> Shown {
    run_at_terminal(arguments, variables, (width, false), text).await
}

/// Runs a command like [`at_terminal`]; `with_errors` has standard error at the terminal too.
async fn run_at_terminal(
    arguments: &[&str],
    variables: &Variables,
    (width, with_errors): (u16, bool),
    text: &str,
) -> Shown {
    let (master, slave) = terminal(width);
    let mut typing = File::from(master.try_clone().expect("a terminal"));
    typing.write_all(text.as_bytes()).expect("a terminal");
    let stdin: OwnedFd = slave.try_clone().expect("a terminal");
    let mut command = tagwarden(arguments, variables);
    command.stdin(Stdio::from(stdin));
    if with_errors {
        command.stderr(Stdio::from(slave.try_clone().expect("a terminal")));
    }
    let child = command.stdout(Stdio::from(slave)).spawn().expect("the binary can be started");
    // The terminal ends when nobody else has it open.
    drop(command);
    let read = tokio::task::spawn_blocking(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        let mut master = File::from(master);
        while let Ok(read @ 1..) = master.read(&mut bytes) {
            all.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8(all).expect("UTF-8").replace("\r\n", "\n")
    });
    let ended = within_deadline("the end of a command", child.wait_with_output()).await;
    let ended = ended.expect("an end");
    Shown {
        code: ended.status.code().expect("no signal"),
        stdout: read.await.expect("no panic"),
        stderr: String::from_utf8(ended.stderr).expect("UTF-8"),
    }
}

const LONG: &str = "a-release-2026-11-30-with-a-rather-long-name-for-a-tag";

#[tokio::test]
async fn help_fits_the_terminal() {
    let commands = [&["--help"][..], &["restore", "--help"], &["explain", "--help"]];
    let commands = commands.into_iter().chain([&["list", "--help"][..], &["check", "-h"]]);
    for arguments in commands {
        // No size is what a terminal has that nobody looks at.
        for (width, most) in [(80, 80), (120, 120), (0, 80)] {
            let shown = at_terminal(arguments, &Variables::new(), width, "").await;
            let lines = shown.stdout.lines().map(|line| line.replace("\u{1b}[1m", ""));
            let lines = lines.map(|line| line.replace("\u{1b}[4m", "").replace("\u{1b}[0m", ""));
            let widest = lines.max_by_key(|line| line.chars().count()).expect("help");
            assert!(widest.chars().count() <= most, "{arguments:?} {width}: {widest:?}");
        }
    }
}

#[tokio::test]
async fn nothing_but_the_answer_is_at_the_terminal() {
    let quarantine = Quarantine::new().await;
    let repository = quarantine.world.repository.clone();
    let mut variables = quarantine.world.variables.clone();
    variables.insert("TERM".to_owned(), "xterm".to_owned());
    quarantine.marked(&repository, "before records");
    // There is no bar about nothing, and nothing twice.
    let arguments = ["restore", "--repository", "*"];
    let shown = run_at_terminal(&arguments, &variables, (80, true), "").await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(!shown.stdout.contains("0/0"), "{shown:?}");
    for once in ["\ngive_back() (", "# give_back TAG...", "Not asked about: 1 quarantined"] {
        assert_eq!(shown.stdout.matches(once).count(), 1, "{once}: {shown:?}");
    }
    // The worker records what it does.
    quarantine.image(&["1.0"]);
    let arguments = ["restore", "team/app:1.0"];
    let asked = run_at_terminal(&arguments, &variables, (80, true), "");
    let (shown, ()) = tokio::join!(asked, quarantine.answer(&[Answer::Restores]));
    assert!(
        shown.stdout.contains("1 restored") && shown.stdout.contains("0/1 images"),
        "{shown:?}"
    );
    assert!(!shown.stdout.contains("asking the worker"), "{shown:?}");
    assert!(!shown.stdout.contains("0/0"), "{shown:?}");
}

#[tokio::test]
async fn plan_fits_the_terminal() {
    let filled = Filled::with("policy.protected_tags = ['keep']").await;
    let world = &filled.world;
    let finding = Finding::new("CVE-2026-0001", "CRITICAL")
        .in_package("a-package-with-a-rather-long-name", "1.0.0-0ubuntu1.2~deb9u3")
        .fixed_in("1.0.0-0ubuntu1.3~deb9u4");
    let long = "a-release-2026-11-30-with-a-rather-long-name-for-a-tag";
    world.image(&[long, "b", "c", "d"], ScanResult::enhanced(&[]).with(finding));
    world.image(&["keep"], ScanResult::basic(&[("CRITICAL", 1)]));
    for width in [80, 120] {
        let shown = at_terminal(&["plan"], &world.variables, width, "").await;
        assert_eq!(shown.code, 3, "{shown:?}");
        let (_, table) = shown.stdout.split_once("\n\n").expect("a table");
        let (table, _) = table.split_once("\n\n").expect("an end");
        assert!(table.starts_with("REPOSITORY "), "{}", shown.stdout);
        assert_eq!(table.lines().count(), 6, "{}", shown.stdout);
        for line in table.lines() {
            assert!(line.chars().count() <= usize::from(width), "{line:?}\n{}", shown.stdout);
        }
        assert!(table.contains("CRITICAL CVE-2026-0001") && table.contains('…'), "{table}");
        assert!(shown.stdout.contains("; tag keep is protected"), "{}", shown.stdout);
    }
    let piped = world.run(&["plan"], "").await;
    assert!(piped.stdout.contains(&format!("{long}, ")), "nothing is shortened: {piped:?}");
    assert!(piped.stdout.contains(&filled.bad), "{piped:?}");
}

#[tokio::test]
async fn list_fits_the_terminal() {
    let world = night().await;
    let long = LONG;
    world.quarantined(&world.repository, &[long, "b", "c", "d"]);
    let (digest, _) = world.quarantined(&world.repository, &["1.0"]);
    world.record(&world.repository, &digest, hold("one", 5));
    world.marked(&world.repository, &["0.1"]);
    for width in [80, 120] {
        let shown = at_terminal(&["list"], &world.variables, width, "").await;
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
        // A command to copy is never shortened.
        for line in shown.stdout.lines().filter(|line| !line.contains(": tagwarden ")) {
            assert!(line.chars().count() <= usize::from(width), "{line:?}\n{}", shown.stdout);
        }
        for expected in [
            "CRITICAL CVE-2021-44228",
            "2026-11-30 01:12",
            "held until ",
            "quarantined without records",
            "tagwarden restore team/app:",
            &format!("  {long}, b, c, d\n"),
        ] {
            assert!(shown.stdout.contains(expected), "{expected}: {}", shown.stdout);
        }
    }
}

#[tokio::test]
async fn apply_goes_on_only_if_the_account_number_is_typed() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let variables = &filled.world.variables;
    for typed in ["\n", "y\n", "yes\n", "111122223334\n", "1111\n", "\u{4}"] {
        let shown = at_terminal(&["apply", &file], variables, 80, typed).await;
        assert_eq!(shown.code, 2, "{typed:?} {shown:?}");
        assert!(shown.stderr.contains("Type the account number to go on: "), "{shown:?}");
        assert!(shown.stderr.contains("nothing was changed: "), "{shown:?}");
        assert_eq!(filled.world.changes(), [] as [&str; 0], "{typed:?}");
    }
    let shown = at_terminal(&["apply", &file], variables, 80, "111122223333\n").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("\n3 done now\n"), "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.1"]);
}

#[tokio::test]
async fn restore_of_many_goes_on_only_if_the_account_number_is_typed() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let variables = quarantine.world.variables.clone();
    let arguments = ["restore", "--repository", "team/*"];
    let shown = at_terminal(&["restore", "team/app:1.0", "--no-follow"], &variables, 80, "").await;
    assert_eq!(shown.code, 0, "one image is asked for without a question: {shown:?}");
    assert!(!shown.stderr.contains("Type the account number"), "{shown:?}");
    quarantine.image(&[LONG, "b", "c", "d"]);
    for typed in ["\n", "y\n", "yes\n", "111122223334\n", "\u{4}"] {
        let shown = at_terminal(&arguments, &variables, 80, typed).await;
        assert_eq!(shown.code, 2, "{typed:?} {shown:?}");
        assert!(shown.stderr.contains("Type the account number to go on: "), "{shown:?}");
        assert!(shown.stderr.contains("nothing was sent: "), "{shown:?}");
        assert_eq!(quarantine.requests().len(), 1, "{typed:?}");
        let (_, said) = shown.stderr.split_once('\n').expect("who asks");
        let (table, _) = said.split_once("\n\n").expect("a table");
        assert!(table.starts_with("REPOSITORY ") && table.lines().count() == 4, "{table}");
        let below = format!("  {LONG}, b, c, d");
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line:?}\n{table}");
            let is_row = line.ends_with("STATE") || line.ends_with("signed");
            assert!(is_row || line == below, "{table}");
        }
        assert!(table.contains("  CVE-2026-base") && table.contains("  base  "), "{table}");
    }
    let agreed = at_terminal(&arguments, &variables, 80, "111122223333\n");
    let answer = quarantine.answer(&[Answer::Restores; 2]);
    let (shown, ()) = tokio::join!(agreed, answer);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("\n2 restored\n"), "{shown:?}");
    for line in shown.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line:?}\n{}", shown.stdout);
    }
}

#[tokio::test]
async fn signal_ends_the_question() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    quarantine.image(&["2.0"]);
    let arguments = ["restore", "--rule", "base"];
    let (code, said) = interrupted_at_the_question(&arguments, &quarantine.world.variables).await;
    assert_eq!((code, said.trim()), (Some(2), "error: nothing was sent: interrupted"));
    assert!(quarantine.requests().is_empty());
}

/// Sends SIGINT when the command asks for the account number. Returns its exit code, and what it
/// says to people after that.
pub(super) async fn interrupted_at_the_question(
    arguments: &[&str],
    variables: &Variables,
) -> (Option<i32>, String) {
    let (_master, slave) = terminal(80);
    let mut command = tagwarden(arguments, variables);
    let mut child = command.stdin(Stdio::from(slave)).spawn().expect("the binary can be started");
    let mut stderr = child.stderr.take().expect("a pipe");
    let question = async {
        let (mut said, mut bytes) = (String::new(), [0; 4096]);
        while !said.ends_with("go on: ") {
            let read = stderr.read(&mut bytes).await.expect("a pipe");
            assert!(read > 0, "no question: {said}");
            said.push_str(std::str::from_utf8(&bytes[..read]).expect("ASCII"));
        }
    };
    within_deadline("the question", question).await;
    send_signal(child.id().expect("a process that runs"), Signal::INT);
    let mut said = String::new();
    within_deadline("the end", stderr.read_to_string(&mut said)).await.expect("a pipe");
    let status = within_deadline("the end", child.wait()).await.expect("an end");
    (status.code(), said)
}
