//! The whole pipeline on one machine: AWS simulated on loopback, and the real worker.
//!
//! `cargo run --example local` pushes a handful of images and prints a line about each of their tags. `-- --help` says
//! what else it does.
//!
//! The map: [`stage`] is the simulated AWS, [`worker`] the worker on top of it, [`scenes`] the images and what is
//! expected of them, [`story`] plays them, [`delivery`] sends the events of a file, whose images [`seed`] makes,
//! [`narrator`] follows what [`bus`] and [`log`] report, and prints it with `--story`, [`table`] sums up, [`invitation`]
//! says how to go on from another terminal, [`page`] is standard output.

mod bus;
mod delivery;
mod invitation;
mod log;
mod narrator;
mod page;
mod scenes;
mod seed;
mod stage;
mod story;
mod table;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_sim::Published;
use clap::Parser;
use tagwarden::domain::text::escaped;
use tokio::signal::unix::{SignalKind, signal};

use invitation::invitation;
use narrator::Narrator;
use page::{heading, print};
use stage::Stage;
use worker::{Configuration, Worker};

/// Everything that goes wrong here ends the program with one line.
type Error = Box<dyn std::error::Error>;

/// Runs tagwarden against a simulated AWS on this machine and shows what happens
#[derive(Debug, Parser)]
#[command(name = "local", after_help = delivery::help())]
struct Arguments {
    /// Tell everything: every push, scan, decision, call that counts and notice
    #[arg(long)]
    story: bool,
    /// Print one notice, as the team receives it by e-mail
    #[arg(long, conflicts_with_all = ["story", "events", "serve"])]
    notice: bool,
    /// Send the events of FILE ("-": standard input) to the queue, instead of those of the images' own scans
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Stay up afterwards, for tagwarden and the AWS command line in another terminal, until Ctrl-C or SIGTERM
    #[arg(long)]
    serve: bool,
    /// Judge by the policy of this configuration file; queue, topic, port and restore stay the example's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show the worker's own log on standard error (RUST_LOG does that too, and sets its filter)
    #[arg(long)]
    log: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local: {}", escaped(&error.to_string(), &['\n']));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let bodies = arguments.events.as_deref().map(delivery::read).transpose()?;
    let file = arguments.config.as_deref().map(found).transpose()?;
    let log = log::install(arguments.log)?;
    let stage = Stage::build().await?;
    let scope = seed::scope(&stage, bodies.as_deref().unwrap_or_default());
    let worker = Worker::new(&stage, &Configuration { file, scope }).await?;
    let mut narrator = Narrator::new(&stage.sim, log, arguments.story);
    if arguments.story {
        print(stage.introduction());
    } else if !arguments.notice {
        let endpoint = &stage.endpoint;
        heading(&format!("tagwarden: the real worker, and AWS simulated at {endpoint}"));
        print("");
    }

    let show = async {
        if arguments.notice {
            print(mail(&story::first_notice(&stage, &mut narrator).await?));
            return Ok(());
        }
        match &bodies {
            None => {
                let is_ours = arguments.config.is_none();
                let sum = story::tell(&stage, &mut narrator, is_ours).await?;
                if !arguments.story {
                    print(format_args!("\n  {sum}"));
                }
            }
            Some(bodies) => delivery::deliver(&stage, &mut narrator, bodies).await?,
        }
        if arguments.serve {
            serve(&stage, &worker, &mut narrator).await?;
        }
        Ok(())
    };
    worker.run_beside(show).await?;

    if arguments.story || arguments.serve {
        let tags = table::tags(&stage, narrator.sightings());
        print(format_args!("\nThe tags, before and after:\n\n{tags}"));
    }
    if !arguments.serve && !arguments.notice && bodies.is_none() {
        print(NEXT);
    }
    Ok(())
}

/// How to go on.
const NEXT: &str = "
  One notice:       cargo run --example local -- --notice  (every step: --story)
  Give a tag back:  cargo run --example local -- --serve   (more: --help)";

/// The absolute path of a file, if there is one.
fn found(file: &Path) -> Result<PathBuf, Error> {
    let path = file.canonicalize();
    path.map_err(|error| format!("cannot read --config {}: {error}", file.display()).into())
}

/// A notice as SNS sends it to a subscriber by e-mail.
fn mail(notice: &Published) -> String {
    let subject = notice.subject.as_deref().unwrap_or_default();
    let text = format!(
        "From: AWS Notifications <no-reply@sns.amazonaws.com>\nSubject: {subject}\n\n{}",
        notice.message.trim_end()
    );
    escaped(&text, &['\n']).into_owned()
}

/// Stays up, and tells what happens, until a signal.
async fn serve(stage: &Stage, worker: &Worker, narrator: &mut Narrator) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    print(invitation(stage, worker, narrator.sightings()));
    narrator.speak();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = narrator.go_on() => {}
    }
    narrator.sum_up();
    print("\nDraining, which takes a few seconds.");
    Ok(())
}
