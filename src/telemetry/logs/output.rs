//! Standard output without waiting for it: log lines are gathered in memory, and a thread of their own writes them.
//!
//! A log router that stalls must not stop the worker, nor take all its memory. Lines for which there is no room are lost
//! and counted; audit records have room of their own. A process that is killed loses the lines of the last few
//! milliseconds; those up to an audit record are written without gathering more. Nobody waits for that: where standard
//! output has stalled, a killed process loses what it has gathered since.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tracing::{Level, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::AUDIT;

/// Bytes that may wait to be written.
const ROOM: usize = 2 << 20;
/// Bytes that may wait besides where the line is an audit record.
const ROOM_FOR_AUDIT: usize = 2 << 20;
/// How long the writer waits for more lines: one call of the system, and one change of threads, for many lines.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// A buffer that was larger than this is given back.
const KEPT: usize = 256 << 10;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines of this process that were lost, for want of room, since its start.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Where lines are gathered. Clones gather in the same place.
#[derive(Clone, Debug)]
pub(super) struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Somebody wants them written at once.
    urgent: bool,
    /// No more will come.
    closed: bool,
    /// All have been written, and none will be any more.
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
        // Where standard output stalls, the process ends all the same.
        let _ = shared.changed.wait_timeout_while(waiting, LAST_LINES, |waiting| !waiting.ended);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Exchanges the lines that wait for an empty buffer, when there are some. `false`: there will be none any more.
    fn exchange(&self, buffer: &mut Vec<u8>) -> bool {
        let wait = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.closed;
        let waiting = self.changed.wait_while(self.waiting(), wait);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let wait = |waiting: &mut Waiting| !waiting.urgent && !waiting.closed;
        let waiting = self.changed.wait_timeout_while(waiting, GATHER, wait);
        let (mut waiting, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.urgent = false;
        std::mem::swap(&mut waiting.lines, buffer);
        !(waiting.closed && buffer.is_empty())
    }

    /// Writes everything, however often standard output wants to be asked. Lines that it refuses are lost.
    fn write_all(&self, out: &mut impl Write, mut lines: &[u8]) {
        while !lines.is_empty() {
            match out.write(lines) {
                Ok(written @ 1..) => lines = lines.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody has made the pipe one that does not wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let waiting = self.waiting();
                    drop(self.changed.wait_timeout(waiting, GATHER));
                }
                Ok(0) | Err(_) => {
                    let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                    LOST.fetch_add(lost as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
        // Nobody could be told that the log cannot be written.
        let _ = out.flush();
    }

    fn write(&self, mut out: impl Write) {
        let mut buffer = Vec::new();
        let mut known = 0;
        while self.exchange(&mut buffer) {
            // Said now, while there is room for it.
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
    /// Gathers lines for `out`.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<(Self, LastLines)> {
        let output = Self(Arc::default());
        let shared = Arc::clone(&output.0);
        Builder::new().name("log".to_owned()).spawn(move || shared.write(out))?;
        Ok((output.clone(), LastLines(output)))
    }
}

/// One line on its way.
#[derive(Debug)]
pub(super) struct Line<'a> {
    shared: &'a Shared,
    room: usize,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.take(line, self.room, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { shared: &self.0, room: ROOM, urgent: false }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self::Writer {
        let audit = of.target() == AUDIT;
        let room = if audit { ROOM + ROOM_FOR_AUDIT } else { ROOM };
        Line { shared: &self.0, room, urgent: audit || *of.level() == Level::ERROR }
    }
}

#[cfg(test)]
mod tests;
