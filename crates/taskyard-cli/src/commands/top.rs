//! `top`: a live view of the whole queue, each second anew; one picture with `--once`, objects for programs with `--json`.

mod look;
mod picture;
mod screen;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;

use crate::commands::Interrupts;
use crate::failure::Failure;
use crate::session::{Access, Session};
use look::{Before, look};
use screen::Screen;

/// Between two looks, at least; and a look that takes long is followed by a rest of so many times its length.
const EVERY_MIN: Duration = Duration::from_millis(100);
const REST: u32 = 4;

/// Watch the whole queue
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one picture and end
    #[arg(long)]
    once: bool,
    /// Between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = crate::commands::filter::span)]
    every: Duration,
}

impl Top {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let out = session.out();
        let taskyard = session.taskyard(Access::Existing).await?;
        if self.once {
            let frame = look(&taskyard, session.address(), None).await?;
            if out.is_json() {
                out.json(&frame.to_json())?;
                return Ok(0);
            }
            let lines = picture::lines(&frame, std::io::stdout().is_terminal());
            writeln!(std::io::stdout().lock(), "{}", lines.join("\n"))?;
            return Ok(0);
        }
        let mut interrupts = Interrupts::listen()?;
        let mut screen = match out.is_json() {
            // A stream of objects, for programs.
            true => None,
            false if !std::io::stdout().is_terminal() => {
                return Err(Failure::usage("this is no terminal to draw on")
                    .with_hint("`taskyard top --once` prints one picture, `--json` one object after the other"));
            }
            false => Some(Screen::open()?),
        };
        let mut before: Option<Before> = None;
        loop {
            let began = Instant::now();
            let frame = look(&taskyard, session.address(), before.as_ref()).await?;
            before = Some(frame.before());
            match &mut screen {
                Some(screen) => screen.draw(&picture::lines(&frame, true))?,
                None => out.json(&frame.to_json())?,
            }
            let pause = self.every.max(EVERY_MIN).max(began.elapsed() * REST);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = interrupts.next() => return Ok(0),
                () = screen::quit(&mut screen) => return Ok(0),
            }
        }
    }
}
