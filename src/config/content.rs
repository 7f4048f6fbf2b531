//! What the configuration file holds at one moment.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::mistake::Mistake;
use crate::domain::text::hex;

/// The largest file in bytes. The largest task definition that ECS accepts is a sixteenth of it.
const MAX_BYTES: u64 = 1 << 20;
/// The last line of a file that is whole.
const END: &str = "# end";

/// What the configuration file holds at one moment.
#[derive(Clone, Debug)]
pub struct Content(Result<Vec<u8>, String>);

/// Tells one content from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentId([u8; 32]);

/// Writes the digits.
impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Content {
    /// Reads a file. A file that cannot be read is a content too, with the reason.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let read = || {
            let file = File::open(path)?;
            let mut bytes = Vec::new();
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let read = read().map_err(|error: std::io::Error| format!("cannot be read: {error}"));
        Self(read.and_then(|bytes| match bytes.len() as u64 > MAX_BYTES {
            true => Err("exceeds 1 MiB, the most that is read".to_owned()),
            false => Ok(bytes),
        }))
    }

    /// Returns what tells this content from another.
    #[must_use]
    pub fn id(&self) -> ContentId {
        let mut hash = Sha256::new();
        match &self.0 {
            Ok(bytes) => hash.update(bytes),
            // It differs from every file that is read.
            Err(problem) => hash.update(format!("\0{problem}")),
        }
        ContentId(hash.finalize().into())
    }

    /// Returns the text.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(super) fn into_text(self, path: &Path) -> Result<String, Mistake> {
        let wrong = |problem: &str| Mistake::general(format!("{} {problem}", path.display()));
        let bytes = self.0.map_err(|problem| wrong(&problem))?;
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(wrong("is UTF-16 text, as PowerShell writes it: save it as UTF-8"));
        }
        // Editors on Windows begin UTF-8 files with a mark of the byte order.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(bytes);
        String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))
    }
}

/// Checks that a text has not lost its end. A part of a file in TOML or YAML can be a correct file
/// too, with fewer exceptions and rules.
///
/// # Errors
/// The mistake, if the only line `# end` is not the last one.
pub(super) fn check_end(text: &str) -> Result<(), Mistake> {
    let whole = text.trim_end();
    let mut ends = whole.lines().enumerate().filter(|(_, line)| line.trim_end() == END);
    let last = whole.lines().count().checked_sub(1);
    let (first, more) = (ends.next().map(|(at, _)| at), ends.next());
    let problem = match (first, more) {
        (None, _) => "does not end with the line `# end`, so it may have been cut off",
        (first, None) if first == last => return Ok(()),
        _ => "has the line `# end` before its end, so a part of it would look whole",
    };
    let problem = format!("the watched configuration file {problem}");
    Err(Mistake::general(problem).help("write `# end` once, as the last line"))
}
