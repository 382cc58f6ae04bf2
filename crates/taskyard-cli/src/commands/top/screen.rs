//! The terminal of `top`: the alternate screen, redrawn in place, and keys without Enter. Dropping it restores the terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use taskyard_terminal::Failure;
use tokio::sync::mpsc;

/// Enters the alternate screen, hides the cursor and stops wrapping long lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// Restores the terminal.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal while `top` draws on it.
pub(super) struct Screen {
    keys: mpsc::Receiver<u8>,
    /// The previous input mode of the terminal.
    was: Option<Termios>,
}

impl Screen {
    /// Enters the alternate screen and starts reading keys.
    ///
    /// # Errors
    /// A failure if the terminal cannot be written.
    pub(super) fn open() -> Result<Self, Failure> {
        let was = keys_at_once();
        let (sender, keys) = mpsc::channel(8);
        if was.is_some() {
            // The thread runs until the process ends, because a blocking read of a terminal cannot be cancelled.
            std::thread::spawn(move || {
                let mut key = [0_u8];
                while io::stdin().lock().read(&mut key).is_ok_and(|count| count == 1) {
                    if sender.blocking_send(key[0]).is_err() {
                        return;
                    }
                }
            });
        }
        let screen = Self { keys, was };
        write(ENTER)?;
        Ok(screen)
    }

    /// Draws lines, which must be escaped, over the previous ones: as many as fit above the line of keys.
    ///
    /// # Errors
    /// A failure if the terminal cannot be written.
    pub(super) fn draw(&mut self, lines: &[String], keys: &str) -> Result<(), Failure> {
        let rows = termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row)).max(2);
        let mut text = String::from("\x1b[H");
        for line in lines.iter().take(rows - 1) {
            text.push_str(line);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str(keys);
        text.push_str("\x1b[J");
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Errors are ignored, because `drop` has no caller to report them to.
        let _ = write(LEAVE);
        if let Some(was) = &self.was {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, was);
        }
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Switches the terminal to keys without Enter and without echo; Ctrl-C remains a signal. Returns the previous mode, or `None` if
/// stdin is not a terminal.
fn keys_at_once() -> Option<Termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let was = termios::tcgetattr(io::stdin()).ok()?;
    let mut now = was.clone();
    now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    termios::tcsetattr(io::stdin(), OptionalActions::Now, &now).ok()?;
    Some(was)
}

/// Returns the next key; never completes without a screen.
pub(super) async fn key(screen: &mut Option<Screen>) -> u8 {
    if let Some(screen) = screen
        && let Some(key) = screen.keys.recv().await
    {
        return key;
    }
    std::future::pending().await
}
