//! The `tagwarden` program: passes the arguments to the library and returns its exit code.

use std::process::ExitCode;

use tagwarden::cli;
use tikv_jemallocator::Jemalloc;

// The findings of many images take tens of megabytes for a moment. glibc keeps that memory for
// ever. jemalloc's own thread gives it back within seconds, even if nothing is allocated meanwhile
// (docs/performance.md, "The allocator").
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

// One thread is enough, because a task has a fraction of a core and waits for the network most of
// the time. A second thread would cost more than it gains; more tasks share more work.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::main(cli::arguments()).await
}
