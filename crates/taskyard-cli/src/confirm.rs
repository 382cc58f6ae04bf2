//! Asks for confirmation before a bulk command that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use taskyard_terminal::{Failure, escape};

/// Returns at once with `yes`; otherwise asks on the terminal.
///
/// # Errors
/// A usage failure (exit code 2) without a terminal to ask on; a failure with exit code 1 if the user declines.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("this changes many tasks at once and there is no terminal to ask on")
            .with_hint("add --yes if you mean it"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} [y/N] ", escape::line(question))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::work("nothing was changed"))
    }
}
