//! Asks a person at the terminal whether to go on.

use std::io::{IsTerminal as _, Write as _};

use tokio::sync::oneshot;

use crate::app::Signals;

/// Asks for the account number.
///
/// # Errors
/// Says why nobody agreed.
pub(super) async fn agreed(account: &str, signals: &mut Signals) -> Result<(), String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err("standard input is no terminal; --yes goes on without asking".to_owned());
    }
    eprint!("Type the account number to go on: ");
    drop(std::io::stderr().flush());
    // The signals are caught already, so that one of them has to end the question. The thread ends
    // with the process.
    let (typed, typing) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdin.read_line(&mut line).map(|_| line);
        drop(typed.send(read));
    });
    let line = tokio::select! {
        biased;
        _ = signals.next() => {
            eprintln!();
            return Err("interrupted".to_owned());
        }
        typed = typing => typed,
    };
    match line {
        Ok(Ok(line)) if line.trim() == account => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(_)) | Err(_) => {
            Err(format!("that is not {account}; run it again and type this number, or add --yes"))
        }
    }
}
