//! Python programs that tests need, installed once from PyPI under `target/`.
#![expect(clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "a module of a test crate")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set this to 1 if Python or PyPI is not available.
const SKIP: &str = "TAGWARDEN_SKIP_PYPI";

/// A Python with packages.
pub struct Python {
    root: PathBuf,
}

impl Python {
    /// A Python with these packages, which are installed first if they are missing. Returns `None`
    /// if the environment says that the tests which need it are skipped. Tests of all processes
    /// wait for each other.
    ///
    /// # Panics
    ///
    /// Panics if the packages cannot be installed.
    pub fn with(packages: &[&str]) -> Option<Self> {
        if std::env::var(SKIP).is_ok_and(|value| value == "1") {
            println!("skipped, because {SKIP}=1");
            return None;
        }
        match Self::installed(packages) {
            Ok(python) => Some(python),
            Err(why) => panic!(
                "this test needs python3 and {} from PyPI ({SKIP}=1 skips it): {why}",
                packages.join(", ")
            ),
        }
    }

    /// Starts the interpreter.
    pub fn command(&self) -> Command {
        let packages = self.packages();
        if packages.exists() {
            let mut python = Command::new("python3");
            python.env("PYTHONPATH", packages);
            return python;
        }
        Command::new(self.interpreter())
    }

    /// The folder of the packages' programs, and the Python search path that they need, if any.
    pub fn programs(&self) -> (PathBuf, Option<PathBuf>) {
        let packages = self.packages();
        if packages.exists() {
            return (packages.join("bin"), Some(packages));
        }
        (self.root.join("bin"), None)
    }

    /// The interpreter of the virtual environment.
    fn interpreter(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    /// The packages, if virtual environments are not available.
    fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    fn installed(packages: &[&str]) -> Result<Self, String> {
        let name: String = packages.join("_").replace(['[', ']', ','], "-");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join(name);
        let readable = |error: std::io::Error| format!("{}: {error}", root.display());
        fs::create_dir_all(root.with_file_name("")).map_err(readable)?;
        let mut lock = root.clone().into_os_string();
        lock.push(".lock");
        let lock = File::create(lock).map_err(readable)?;
        lock.lock().map_err(readable)?;
        let complete = root.join("complete");
        let python = Self { root: root.clone() };
        if !complete.exists() {
            python.install(packages)?;
            File::create(complete).map_err(readable)?;
        }
        Ok(python)
    }

    fn install(&self, packages: &[&str]) -> Result<(), String> {
        let pip = ["-m", "pip", "install", "--quiet"];
        drop(fs::remove_dir_all(&self.root));
        if run(Command::new("python3").args(["-m", "venv"]).arg(&self.root)).is_ok() {
            return run(Command::new(self.interpreter()).args(pip).args(packages));
        }
        drop(fs::remove_dir_all(&self.root));
        let target = self.packages();
        run(Command::new("python3").args(pip).args(packages).arg("--target").arg(target))
    }
}

/// Runs a command to its end. Returns the last line of its output if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{name}: {}", stderr.lines().last().unwrap_or("failed")))
}
