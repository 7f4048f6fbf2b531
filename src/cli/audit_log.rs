//! The file of `--audit-log`: one JSON line for every act, as the worker's log has them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

/// A file to which lines are appended.
#[derive(Clone, Debug)]
pub(super) struct AuditLog(Arc<File>);

impl AuditLog {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// # Errors
    /// Says that the file cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let file = opened.map_err(|error| {
            format!("--audit-log: {} cannot be written: {error}", path.display())
        })?;
        Ok(Self(Arc::new(file)))
    }
}

/// Writes whole lines. A line that the file does not take goes to standard error, so that no act
/// passes without a record.
impl Write for AuditLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.0.as_ref().write_all(line) {
            let mut stderr = io::stderr();
            writeln!(stderr, "error: the audit log cannot be written: {error}")?;
            stderr.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_ref().flush()
    }
}

impl<'a> MakeWriter<'a> for AuditLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
