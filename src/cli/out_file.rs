//! A file that is written as a whole or not at all: what a command finds goes to a temporary file
//! beside it, which takes its place at the end. So a command that fails or is interrupted leaves an
//! older file as it was.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// The permissions of a new file, before the process's mask.
const MODE: u32 = 0o666;

/// A file that a command will write.
#[derive(Debug)]
pub(super) struct OutFile {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A new file, or one that is replaced.
    Beside(NamedTempFile),
    /// A pipe or a device, which is not replaced.
    Itself(File),
}

impl OutFile {
    /// Checks that the file can be written, before an hour's work would be lost.
    ///
    /// # Errors
    /// Says which file cannot be written, and why.
    pub(super) fn prepare(path: &Path) -> Result<Self, String> {
        // A link stays a link, and its target may be in another file system.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let place = Self::place(&target).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: target, place })
    }

    /// Returns whether both are the same file.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.path == other.path && matches!(self.place, Place::Beside(_))
    }

    fn place(path: &Path) -> io::Result<Place> {
        let is_special = match fs::metadata(path) {
            Ok(of) if of.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(of) if of.is_file() && !is_ours(path) => {
                let problem = "it exists, and is neither .json nor .html; choose another name";
                return Err(io::Error::other(problem));
            }
            Ok(of) => !of.is_file(),
            Err(_) => false,
        };
        if is_special {
            return Ok(Place::Itself(OpenOptions::new().write(true).open(path)?));
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let permissions = fs::metadata(path).map(|of| of.permissions());
        let permissions = permissions.unwrap_or_else(|_| Permissions::from_mode(MODE));
        Builder::new()
            .prefix(".tagwarden-")
            .permissions(permissions)
            .tempfile_in(folder)
            .map(Place::Beside)
    }

    /// Writes the text and puts the file in its place.
    ///
    /// # Errors
    /// Says that the file cannot be written, and why.
    pub(super) fn write(self, text: &str) -> Result<(), String> {
        let Self { path, place } = self;
        let written = match place {
            Place::Itself(mut file) => file.write_all(text.as_bytes()),
            Place::Beside(mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.as_file().sync_all())
                .and_then(|()| file.persist(&path).map(drop).map_err(|error| error.error)),
        };
        written.map_err(|error| unwritable(&path, &error))
    }
}

/// Returns whether a file of this name may be a plan or its page, which a new one replaces. One
/// slip must not replace the policy.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json" || extension == "html")
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_as_a_whole_or_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.json"), folder.path().join("link.json"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        drop(OutFile::prepare(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        OutFile::prepare(&link).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "no temporary file is left: {left:?}");
    }

    #[test]
    fn unusable_place_is_named_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/a.json");
        for path in [missing.as_path(), folder.path()] {
            let problem = OutFile::prepare(path).unwrap_err();
            assert!(problem.contains(&path.display().to_string()), "{problem}");
        }
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, "[policy]").unwrap();
        assert!(OutFile::prepare(&policy).unwrap_err().contains("choose another name"));
        OutFile::prepare(Path::new("/dev/null")).unwrap().write("x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
