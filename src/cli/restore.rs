//! The command `tagwarden restore`. It asks the worker to give tags back, and follows what becomes
//! of it. It changes nothing itself, and needs a Region, the worker's queue and the permission to
//! read the registry: neither a mode nor a topic.
//!
//! A variable that is empty by mistake never means "everything": each text that is given has to say
//! something, and without an image and without a filter nothing is chosen.

mod arguments;
mod order;
mod senders;
mod times;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) use self::arguments::Arguments;
use self::order::Order;
use super::agreed::agreed;
use super::plan::width;
use super::progress::{self, Acts, Progress};
use super::{BAD_INPUT, FAILED, Format, Screen, failed, live_failed, print, print_verdicts};
use crate::app;
use crate::app::restore::{Choosing, Restoring};
use crate::ask::{AskedAll, End, Report};
use crate::config::Sources;
use crate::domain::text::escaped;
use crate::sweep::Advance;
use crate::table::count;

/// How long the worker usually takes at most: then somebody who waits wants to know what may be
/// wrong.
const DOUBT: Duration = Duration::from_secs(5);

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    let mut order = match order::order(&arguments, sources) {
        Ok(order) => order,
        Err(problem) => return problem.report(screen),
    };
    for line in &order.read_as {
        eprintln!("{line}");
    }
    let mut signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let progress = Progress::of("repositories", screen);
    // The worker records what it does; the request by itself changes nothing.
    let acts = match order.audit.take() {
        Some(audit) => Acts::To(audit),
        None if screen.is_verbose() => Acts::Shown,
        None => Acts::Hidden,
    };
    progress::log(&progress, acts, screen);
    let how = How { dry_run: arguments.dry_run, is_quiet: screen.is_quiet() };
    let chosen = Box::pin(choose(order, how, &progress, &mut signals)).await;
    progress.end();
    let Chosen { restoring, all, patience, queue, doubt, is_partial } = match chosen {
        Ok(chosen) => chosen,
        Err(code) => return code,
    };
    let before = Report::new(restoring.own(), &all, arguments.dry_run);
    if arguments.dry_run {
        let printed = show(&arguments, &before, &before.chosen(width()), screen);
        return if is_partial { partial() } else { printed };
    }
    if !all.images.is_empty() {
        eprintln!("{}", escaped(&before.chosen(width()), &['\n']));
    }
    if all.askable().count() > 1
        && !arguments.yes
        && let Err(problem) = agreed(restoring.own().account.as_str(), &mut signals).await
    {
        return failed(BAD_INPUT, format_args!("nothing was sent: {problem}"));
    }
    progress.restart("images");
    let has_answer = AtomicBool::new(false);
    let step = |step: Advance| {
        if matches!(step, Advance::Image) {
            has_answer.store(true, Ordering::Relaxed);
        }
        progress.step(&step);
    };
    let asking = Box::pin(restoring.ask(all, patience, &mut signals, &step));
    let doubting = async {
        tokio::time::sleep((patience.unwrap_or_default() / 10).min(DOUBT)).await;
        if patience.is_some() && !has_answer.load(Ordering::Relaxed) {
            progress.say(&format!("no answer yet; {doubt}"));
        }
        std::future::pending::<Infallible>().await
    };
    let asked = tokio::select! {
        asked = asking => asked,
        never = doubting => match never {},
    };
    progress.end();
    let all = match asked {
        Ok(all) => all,
        Err(error) => return live_failed(&error),
    };
    let report = Report::new(restoring.own(), &all, false);
    let printed = show(&arguments, &report, &report.outcomes(width()), screen);
    if let Some(end) = &all.end {
        if matches!(end, End::NoAnswer { .. }) {
            eprintln!("{}", escaped(&causes(&doubt), &['\n']));
        }
        return failed(FAILED, ended(end, &all, &queue));
    }
    match printed {
        ExitCode::SUCCESS if is_partial => partial(),
        ExitCode::SUCCESS if !all.is_whole(patience.is_some()) => ExitCode::from(FAILED),
        printed => printed,
    }
}

/// The images that the worker will be asked about, and how.
struct Chosen {
    restoring: Restoring,
    all: AskedAll,
    patience: Option<Duration>,
    queue: String,
    /// The question about the sender if there is no answer.
    doubt: String,
    /// Whether something could not be read.
    is_partial: bool,
}

/// How much is done and said.
#[derive(Clone, Copy)]
struct How {
    dry_run: bool,
    is_quiet: bool,
}

/// Chooses the images.
///
/// # Errors
/// The exit code, after the reason was reported.
async fn choose(
    order: Order,
    how: How,
    progress: &Progress,
    signals: &mut app::Signals,
) -> Result<Chosen, ExitCode> {
    let Order { settings, choice, wish, typed, patience, queue, senders, .. } = order;
    let queue_account = settings.own.as_ref().map(|own| own.account.clone());
    let sdk = app::aws_from_environment().await;
    let restoring = Box::pin(Restoring::prepare(settings, &sdk)).await;
    let restoring = restoring.map_err(|error| live_failed(&error))?;
    if !how.is_quiet {
        eprintln!("{}", escaped(&senders.says(restoring.principal()), &[]));
    }
    match senders.check(restoring.principal()) {
        Ok(()) => {}
        Err(problem) if how.dry_run => eprintln!("note: {}", escaped(&problem, &[])),
        Err(problem) => {
            return Err(failed(BAD_INPUT, format_args!("nothing was sent: {problem}")));
        }
    }
    let step = |step: Advance| progress.step(&step);
    let choosing = Box::pin(restoring.choose(choice, &wish, signals, &step)).await;
    progress.end();
    let choosing = choosing.map_err(|error| live_failed(&error))?;
    let Choosing { unrecorded, is_partial, is_interrupted, .. } = choosing;
    if is_interrupted {
        return Err(failed(FAILED, "interrupted; nothing was sent"));
    }
    if let Some(queue) = queue_account.filter(|account| *account != restoring.own().account) {
        eprintln!("note: queue.url names account {queue}, which is another one");
    }
    match typed.check(&choosing) {
        Ok(None) => {}
        Ok(Some(problem)) => eprintln!("note: {}", escaped(&problem, &[])),
        Err(problem) => return Err(failed(BAD_INPUT, problem)),
    }
    if choosing.chosen.is_empty() {
        eprintln!("{}", escaped(&typed.nothing(&choosing), &[]));
    }
    if unrecorded > 0 {
        let (were, fit) = match unrecorded {
            1 => ("1 image was".to_owned(), "fits"),
            more => (format!("{more} images were"), "fit"),
        };
        eprintln!("note: {were} quarantined before there were records, and {fit} no filter");
    }
    let all = AskedAll::new(wish, choosing.chosen);
    let doubt = senders.doubt(restoring.principal());
    Ok(Chosen { restoring, all, patience, queue, doubt, is_partial })
}

/// Says that not everything was read.
fn partial() -> ExitCode {
    failed(FAILED, "part of the registry could not be read; run it again for the rest")
}

/// Prints what was chosen, or what became of it.
fn show(arguments: &Arguments, report: &Report, text: &str, screen: &Screen) -> ExitCode {
    match arguments.format {
        Format::Json => print(&report.json()),
        Format::Text => {
            let by_hand = report.by_hand().map(|commands| {
                format!(
                    "\n\nThe worker does not give these back: it has not signed their records, or\n\
                     cannot read them all. By hand: let the policy accept the image first, by an\n\
                     exception, or its tags are removed again. Then, with credentials that may\n\
                     use ecr:BatchGetImage and ecr:PutImage, in any shell:\n\n{commands}"
                )
            });
            let text = format!("{text}{}", by_hand.unwrap_or_default());
            if text.trim().is_empty() {
                return ExitCode::SUCCESS;
            }
            print_verdicts(&text, screen)
        }
    }
}

/// Says why there may be no answer, a line for each cause.
fn causes(doubt: &str) -> String {
    format!(
        "No answer. Either the worker refused without a record:\n  {doubt}\n  \
         the image is gone, or has too many refusals\n  the repository is full\n  \
         the request is too old: it waited in the queue for more than an hour\n\
         or it has not come to it:\n  it is stopped, or waits for findings"
    )
}

/// Says why the work ended early, and what to do.
fn ended(end: &End, all: &AskedAll, queue: &str) -> String {
    let askable = all.askable().count();
    let sent = format!("{} of {} sent", all.sent(), count(askable as u64, "message", "messages"));
    match end {
        End::Interrupted => format!(
            "interrupted: {sent}; the worker goes on with those; run it again for the rest, which \
             does nothing twice"
        ),
        End::NotSent(problem) => {
            format!("{sent}, then: {problem}; whoever restores needs sqs:SendMessage on {queue}")
        }
        End::Unreadable(problem) => format!(
            "{sent}, and the worker goes on, but its answers cannot be read: {problem}; they need \
             ecr:BatchGetImage"
        ),
        End::NoAnswer { patience, failed } => {
            let patience = humantime::format_duration(*patience);
            let failed = failed.as_ref().map(|failed| format!(" (the last look failed: {failed})"));
            let requests = all.unanswered();
            format!(
                "{sent}, and no answer for {patience}{}; the worker's audit log and its notice \
                 `refused` say more ({requests}); run it again later, which does nothing twice",
                failed.unwrap_or_default()
            )
        }
    }
}
