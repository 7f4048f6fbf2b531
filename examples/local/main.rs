//! The whole pipeline on one machine: AWS simulated on loopback, and the real worker.
//!
//! `cargo run --example local` pushes a handful of images and shows what becomes of them: the scan, the mark, the
//! untagging, the notice. `-- --help` says what else it does.
//!
//! The map: [`stage`] is the simulated AWS, [`worker`] the worker on top of it, [`scenes`] the images and what is
//! expected of them, [`story`] plays them, [`delivery`] sends the events of a file, [`narrator`] prints what happens
//! from what [`bus`] and [`log`] report, [`table`] sums up.

mod bus;
mod delivery;
mod log;
mod narrator;
mod page;
mod scenes;
mod stage;
mod story;
mod table;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use narrator::Narrator;
use page::print;
use stage::Stage;
use worker::Worker;

/// Everything that goes wrong here ends the program with one line.
type Error = Box<dyn std::error::Error>;

/// Runs tagwarden against a simulated AWS on this machine and shows what happens
#[derive(Debug, Parser)]
#[command(name = "local", after_help = delivery::help())]
struct Arguments {
    /// Send the events of FILE ("-": standard input) to the queue, instead of those of the images' own scans
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Stay up afterwards, for the AWS command line, until Ctrl-C or SIGTERM
    #[arg(long)]
    serve: bool,
    /// Show the worker's own log on standard error (RUST_LOG does that too, and sets its filter)
    #[arg(long)]
    log: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let bodies = arguments.events.as_deref().map(delivery::read).transpose()?;
    let log = log::install(arguments.log)?;
    let stage = Stage::build().await?;
    let worker = Worker::new(&stage).await?;
    let mut narrator = Narrator::new(&stage.sim, log);
    print(stage.introduction());

    let show = async {
        match &bodies {
            None => story::tell(&stage, &mut narrator).await?,
            Some(bodies) => delivery::deliver(&stage, &mut narrator, bodies).await?,
        }
        if arguments.serve {
            serve(&stage, &worker, &mut narrator).await?;
        }
        Ok(())
    };
    worker.run_beside(show).await?;

    let tags = table::tags(&stage, narrator.sightings());
    print(format_args!("\nThe tags, before and after:\n\n{tags}"));
    if !arguments.serve && bodies.is_none() {
        print(format_args!("\n{}", delivery::help()));
    }
    Ok(())
}

/// Stays up, and goes on telling what happens, until a signal.
async fn serve(stage: &Stage, worker: &Worker, narrator: &mut Narrator) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    print(stage.invitation(worker.address()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = narrator.go_on() => {}
    }
    narrator.sum_up();
    print("\nDraining.");
    Ok(())
}
