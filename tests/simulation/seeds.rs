//! Runs seeds on every core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Runs the seeds from 0 up to `seeds`, several at the same time.
pub fn run_on_every_core(seeds: u64, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(8));
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    run(seed);
                }
            });
        }
    });
}
