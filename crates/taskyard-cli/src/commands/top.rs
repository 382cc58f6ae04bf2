//! `top`: a live view of all queues, refreshed every second; printed once with `--once`, as a stream of objects with `--json`.

mod look;
mod order;
mod render;
mod screen;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;

use crate::commands::Interrupts;
use crate::session::{Access, Session};
use look::{Before, look};
use order::Order;
use screen::Screen;
use taskyard_terminal::{Failure, Style};

/// Least time between two refreshes.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// The pause after a refresh is at least this many times as long as the refresh took, to limit the load on the database.
const REST: u32 = 4;

/// Watch the whole queue
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print the current state once and exit
    #[arg(long)]
    once: bool,
    /// Time between two refreshes
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = crate::commands::filter::span)]
    every: Duration,
}

impl Top {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let out = session.out();
        let taskyard = session.taskyard(Access::Read).await?;
        if self.once {
            let frame = look(&taskyard, session.address(), Order::default()).await?;
            if out.is_json() {
                out.json(&frame.to_json())?;
                return Ok(0);
            }
            out.shown(render::lines(&frame, Order::default(), Style::of_stdout()).join("\n"))?;
            return Ok(0);
        }
        let mut interrupts = Interrupts::listen()?;
        let mut screen = match out.is_json() {
            // `--json` prints a stream of objects and needs no screen.
            true => None,
            false if !std::io::stdout().is_terminal() => {
                return Err(Failure::usage("`taskyard top` needs a terminal, and stdout is not one")
                    .with_hint("`taskyard top --once` prints the current state, `--json` a stream of objects"));
            }
            false => Some(Screen::open()?),
        };
        let mut before: Option<Before> = None;
        let mut order = Order::default();
        loop {
            let began = Instant::now();
            let mut frame = look(&taskyard, session.address(), order).await?;
            let throughput = before.as_ref().and_then(|before| before.throughput(&frame));
            before = Some(frame.before());
            let pause = self.every.max(EVERY_MIN).max(began.elapsed() * REST);
            let mut rest = pin!(tokio::time::sleep(pause));
            loop {
                frame.throughput = throughput;
                match &mut screen {
                    Some(screen) => screen.draw(&render::lines(&frame, order, Style::of_stdout()), &order.keys())?,
                    None => out.json(&frame.to_json())?,
                }
                let key = tokio::select! {
                    () = &mut rest => break,
                    _ = interrupts.next() => return Ok(0),
                    key = screen::key(&mut screen) => key,
                };
                if matches!(key, b'q' | b'Q') {
                    return Ok(0);
                }
                // Another order selects other tasks, so they are read at once. The throughput is still measured between the
                // regular refreshes.
                if order.press(key) {
                    frame = look(&taskyard, session.address(), order).await?;
                }
            }
        }
    }
}
