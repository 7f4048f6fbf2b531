//! The pictures of README.md: the script that takes them works, and those that are checked in show
//! the layout of today.
//!
//! Pixels are not compared, because they follow the fonts of a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::browser;
use crate::example_local::program;

/// What a reader of README.md loads for one picture.
const MOST_BYTES: u64 = 150_000;

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images")
}

/// Runs the script. Returns the folder that it has written to.
fn made(arguments: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let example = program();
    let programs = example.ancestors().nth(2).expect("the folder of the programs");
    let mut make = Command::new(images().join("make"));
    make.args(arguments).arg("--programs").arg(programs).arg("--to").arg(folder.path());
    let output = make.output().expect("Python 3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{:?}: {errors}", output.status);
    folder
}

/// Checks that a file is a picture, and no larger than readers wait for.
fn assert_is_a_picture(file: &Path) {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", file.display());
    let length = bytes.len() as u64;
    assert!((10_000..MOST_BYTES).contains(&length), "{}: {length} bytes", file.display());
}

#[test]
fn pictures_show_the_layout_of_today() {
    let readme = fs::read_to_string(images().join("../../README.md")).expect("a README");
    for name in ["report.png", "notice.png"] {
        assert!(readme.contains(&format!("docs/images/{name}")), "{name}");
        assert_is_a_picture(&images().join(name));
    }
    let folder = made(&["--no-pictures"]);
    let read = |folder: &Path| fs::read_to_string(folder.join("layout.txt")).expect("a layout");
    let (then, now) = (read(&images()), read(folder.path()));
    assert!(now.lines().count() > 50, "{now}");
    assert!(then == now, "the layout has changed, so run docs/images/make:\n{then}\n---\n{now}");
}

#[test]
fn script_takes_both_pictures() {
    if browser::installed().is_none() {
        return;
    }
    let folder = made(&[]);
    for name in ["report.png", "notice.png"] {
        assert_is_a_picture(&folder.path().join(name));
    }
}
