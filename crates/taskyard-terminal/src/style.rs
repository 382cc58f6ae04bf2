//! Terminal style: the width of lines, and the colours of states and headings.
//!
//! A file or a pipe has neither limit nor colours. Colours are off with `NO_COLOR` (any value that is not empty) and with `TERM=dumb`.

use std::io::{self, IsTerminal as _};

use rustix::termios;
use taskyard_core::TaskState;

const RESET: &str = "\x1b[0m";

/// Width and colours of an output stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; `None` for a file or a pipe, where lines are not limited.
    pub width: Option<usize>,
    /// Whether colours are shown.
    pub colours: bool,
}

impl Style {
    /// Returns the style of this process's stdout.
    pub fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let columns = termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        // 80 columns if the terminal does not report its width.
        Self { width: Some(if columns == 0 { 80 } else { columns }), colours: !is_set("NO_COLOR") && !is_dumb }
    }

    /// Returns a heading in bold.
    pub fn heading(self, text: &str) -> String {
        self.painted(text, Some("\x1b[1m"))
    }

    /// Returns a text in the colour of the state that it names (up to the first `:`), or unchanged.
    pub fn state(self, text: &str) -> String {
        self.painted(text, colour(text.split(':').next().unwrap_or_default().trim()))
    }

    fn painted(self, text: &str, code: Option<&str>) -> String {
        match code.filter(|_| self.colours) {
            Some(code) => format!("{code}{text}{RESET}"),
            None => text.to_owned(),
        }
    }
}

/// Returns the colour of a state of a task, a queue, a server, a schedule or the queue's health.
fn colour(word: &str) -> Option<&'static str> {
    const RED: &str = "\x1b[31m";
    const GREEN: &str = "\x1b[32m";
    const YELLOW: &str = "\x1b[33m";
    const BLUE: &str = "\x1b[34m";
    const MAGENTA: &str = "\x1b[35m";
    const CYAN: &str = "\x1b[36m";
    if let Ok(state) = word.parse() {
        return Some(match state {
            TaskState::Waiting => YELLOW,
            TaskState::Enqueued => BLUE,
            TaskState::Doing => CYAN,
            TaskState::Stopped | TaskState::Cancelled => MAGENTA,
            TaskState::Done => GREEN,
            TaskState::Failed => RED,
        });
    }
    match word {
        "alive" | "running" | "active" | "good" => Some(GREEN),
        "paused" => Some(YELLOW),
        "gone" | "broken" => Some(RED),
        _ => None,
    }
}
