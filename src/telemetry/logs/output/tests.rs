use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A reader of standard output that reads only on request. A write waits until then.
struct Reader {
    begun: Sender<()>,
    wanted: Receiver<()>,
    read: Sender<Vec<u8>>,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        // If the test has dropped its end, read everything.
        let _ = self.wanted.recv();
        let _ = self.read.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Log {
    output: Output,
    last_lines: LastLines,
    begun: Receiver<()>,
    want: Sender<()>,
    written: Receiver<Vec<u8>>,
}

impl Log {
    fn new() -> Self {
        let ((begin, begun), (want, wanted), (read, written)) = (channel(), channel(), channel());
        let (output, last_lines) = Output::to(Reader { begun: begin, wanted, read }).unwrap();
        Self { output, last_lines, begun, want, written }
    }

    fn line(&self, line: &str, room: usize, urgent: bool) {
        self.output.0.take(line.as_bytes(), room, urgent);
    }

    fn info(&self, line: &str) {
        self.line(line, ROOM, false);
    }

    fn audit(&self, line: &str) {
        self.line(line, ROOM + ROOM_FOR_AUDIT, true);
    }

    /// Stalls the writer with one line in its hands.
    fn stall(&self) {
        self.line("first\n", ROOM, true);
        self.begun.recv().unwrap();
    }

    /// Returns everything that was written until the end.
    fn end(self) -> String {
        drop(self.want);
        drop(self.last_lines);
        assert!(self.output.0.waiting().ended, "the end waits for the last lines and no longer");
        self.written.iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }
}

#[test]
fn all_lines_are_written_in_order_before_the_end() {
    let log = Log::new();
    let lines: Vec<_> = (0..10_000).map(|number| format!("line {number}\n")).collect();
    lines.iter().for_each(|line| log.info(line));
    assert_eq!(log.end(), lines.concat());
}

#[test]
fn audit_record_is_written_at_once() {
    let log = Log::new();
    log.audit("act\n");
    log.want.send(()).unwrap();
    assert_eq!(log.written.recv().unwrap(), b"act\n");
}

#[test]
fn lines_beyond_the_room_are_lost_and_counted() {
    let log = Log::new();
    log.stall();
    let (line, before) = (format!("{}\n", "x".repeat(1023)), lost());
    for _ in 0..ROOM / 1024 + 7 {
        log.info(&line);
    }
    assert!(lost() >= before + 7, "{} lines are lost", lost() - before);
    assert_eq!(log.end().len(), "first\n".len() + ROOM);
}

#[test]
fn audit_records_have_bounded_room_of_their_own() {
    let log = Log::new();
    log.stall();
    let line = format!("{}\n", "x".repeat(1023));
    for _ in 0..ROOM / 1024 + 7 {
        log.info(&line);
    }
    let record = format!("{}\n", "a".repeat(1023));
    for _ in 0..ROOM_FOR_AUDIT / 1024 + 7 {
        log.audit(&record);
    }
    log.info(&line);
    let written = log.end();
    assert_eq!(written.matches("xx\n").count(), ROOM / 1024);
    assert_eq!(written.matches("aa\n").count(), ROOM_FOR_AUDIT / 1024);
}
