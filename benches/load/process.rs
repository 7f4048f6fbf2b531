//! What the kernel says of a process.

use std::fs;

/// What a process has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// CPU time of all its threads, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that was resident at any time, in bytes.
    pub(crate) peak: u64,
    /// Memory that is resident now, in bytes.
    pub(crate) resident: u64,
}

impl Taken {
    /// By a process that runs; nothing where there is no `/proc` to tell.
    pub(crate) fn by(process: u32) -> Self {
        if !cfg!(target_os = "linux") {
            return Self { cpu: 0.0, peak: 0, resident: 0 };
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.expect("a figure in kB") * 1024
        };
        Self { cpu: cpu(process), peak: bytes("VmHWM"), resident: bytes("VmRSS") }
    }
}

/// By the scheduler's own account, which is in nanoseconds. Threads that have ended are left out.
fn cpu(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    std::time::Duration::from_nanos(nanos.sum()).as_secs_f64()
}
