//! Writes to standard output without waiting for it: log lines are gathered in memory, and a thread
//! of their own writes them.
//!
//! A log router that stalls must neither stop the worker nor take all of its memory. So two
//! megabytes of lines may wait, and two more if the line is an audit record. Lines beyond that are
//! lost, and counted in the log as soon as the router reads on. Lines are gathered for five
//! milliseconds, because one write then serves many lines. An audit record or an error is written
//! at once.
//!
//! A process that is killed loses the lines of its last few milliseconds, or, if standard output
//! has stalled, all lines since then, because no work waits for a line to be written.
//!
//! tracing-appender's writer was rejected, because it takes an allocation and a write for each line
//! and cannot reserve room for some of them.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Level, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::AUDIT;

/// Most bytes that may wait to be written.
const ROOM: usize = 2 << 20;
/// Bytes that may wait besides if the line is an audit record.
const ROOM_FOR_AUDIT: usize = 2 << 20;
/// Time for which the writer gathers more lines, so that one system call and one switch of threads
/// serve many lines.
const GATHER: Duration = Duration::from_millis(5);
/// Longest time that the end of the process waits until the last lines are written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Size to which a larger buffer is shrunk once its lines are written.
const KEPT: usize = 256 << 10;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Returns the number of lines that this process has lost since its start for lack of room.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Gathers lines. Clones gather in the same place.
#[derive(Clone, Debug)]
pub(super) struct Output(Arc<Buffer>);

#[derive(Debug, Default)]
struct Buffer {
    waiting: Mutex<BufferState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BufferState {
    lines: Vec<u8>,
    /// The lines must be written at once.
    urgent: bool,
    /// No more lines will come.
    closed: bool,
    /// All lines have been written, and no more will be.
    ended: bool,
}

/// Writes the last lines when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LastLines(Output);

impl Drop for LastLines {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let mut waiting = shared.waiting();
        waiting.closed = true;
        shared.changed.notify_all();
        // If standard output stalls, the process ends all the same.
        shared.changed.wait_while_for(&mut waiting, |waiting| !waiting.ended, LAST_LINES);
    }
}

impl Buffer {
    fn waiting(&self) -> MutexGuard<'_, BufferState> {
        self.waiting.lock()
    }

    fn take(&self, line: &[u8], room: usize, urgent: bool) {
        let mut waiting = self.waiting();
        if waiting.ended || waiting.lines.len() + line.len() > room {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let wake = waiting.lines.is_empty() || (urgent && !waiting.urgent);
        waiting.urgent |= urgent;
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Waits for lines and exchanges them for the empty buffer. Returns false if the log has ended.
    fn exchange(&self, buffer: &mut Vec<u8>) -> bool {
        let wait = |waiting: &mut BufferState| waiting.lines.is_empty() && !waiting.closed;
        let mut waiting = self.waiting();
        self.changed.wait_while(&mut waiting, wait);
        let wait = |waiting: &mut BufferState| !waiting.urgent && !waiting.closed;
        self.changed.wait_while_for(&mut waiting, wait, GATHER);
        waiting.urgent = false;
        std::mem::swap(&mut waiting.lines, buffer);
        !(waiting.closed && buffer.is_empty())
    }

    /// Writes all lines, in as many calls as standard output needs. Lines that it refuses are lost.
    fn write_all(&self, out: &mut impl Write, mut lines: &[u8]) {
        while !lines.is_empty() {
            match out.write(lines) {
                Ok(written @ 1..) => lines = lines.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process has made the pipe non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut waiting = self.waiting();
                    self.changed.wait_for(&mut waiting, GATHER);
                }
                Ok(0) | Err(_) => {
                    let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                    LOST.fetch_add(lost as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
        // Ignore an error, because there is no other place to report it.
        let _ = out.flush();
    }

    fn write(&self, mut out: impl Write) {
        let mut buffer = Vec::new();
        let mut known = 0;
        while self.exchange(&mut buffer) {
            // Log it now, because there is room for it.
            if lost() > known {
                let lines = lost() - known;
                known += lines;
                warn!(
                    lines,
                    "log lines were lost: standard output is not read as fast as it is written"
                );
            }
            self.write_all(&mut out, &buffer);
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        self.waiting().ended = true;
        self.changed.notify_all();
    }
}

impl Output {
    /// Gathers lines for `out` and starts the thread that writes them.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<(Self, LastLines)> {
        let output = Self(Arc::default());
        let shared = Arc::clone(&output.0);
        Builder::new().name("log".to_owned()).spawn(move || shared.write(out))?;
        Ok((output.clone(), LastLines(output)))
    }
}

/// Writer of one line.
#[derive(Debug)]
pub(super) struct LogLine<'a> {
    shared: &'a Buffer,
    room: usize,
    urgent: bool,
}

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.take(line, self.room, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine { shared: &self.0, room: ROOM, urgent: false }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self::Writer {
        let audit = of.target() == AUDIT;
        let room = if audit { ROOM + ROOM_FOR_AUDIT } else { ROOM };
        LogLine { shared: &self.0, room, urgent: audit || *of.level() == Level::ERROR }
    }
}

#[cfg(test)]
mod tests;
