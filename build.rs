//! Puts the commit and the compiler into `--version`, so that a report of a fault names its code.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=REVISION");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = output(&rustc, &["--version"]).unwrap_or_default();
    let compiler: Vec<_> = compiler.split_whitespace().take(2).collect();
    println!("cargo::rustc-env=TAGWARDEN_BUILD={version} ({}, {})", revision(), compiler.join(" "));
}

/// Returns the commit: that of `REVISION`, which the Dockerfile passes on, or that of the work tree.
fn revision() -> String {
    let given = std::env::var("REVISION").unwrap_or_default();
    if !given.is_empty() {
        return given.chars().take(12).collect();
    }
    // While somebody works on the code, every commit would build all of it again.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        return "debug build".to_owned();
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "no commit".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
