//! The signals that ask a program to end, heard from the moment a server starts.
//!
//! Whoever stops a server may signal its whole group or control group; its workers leave these signals to it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// SIGINT, SIGTERM, SIGHUP (the terminal is gone) and SIGQUIT.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// `None` if this process was started to outlive its terminal (`nohup`).
    hang_up: Option<Signal>,
}

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    /// The signal's name.
    pub(crate) name: &'static str,
    /// The signal itself.
    pub(crate) signal: rustix::process::Signal,
    /// Nothing is to be waited for.
    pub(crate) at_once: bool,
}

impl Interrupts {
    /// Takes the signals over; from here on they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system has no room for a handler.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let open = |kind| signal(kind).map_err(|error| Failure::work(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            quit: open(SignalKind::quit())?,
            hang_up: if ignores_hang_up() { None } else { Some(open(SignalKind::hangup())?) },
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Interrupt {
        use rustix::process::Signal as Number;
        let (name, signal, at_once) = tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", Number::INT, false),
            _ = self.terminate.recv() => ("SIGTERM", Number::TERM, false),
            _ = self.quit.recv() => ("SIGQUIT", Number::QUIT, true),
            () = hung_up(self.hang_up.as_mut()) => ("SIGHUP", Number::HUP, false),
        };
        Interrupt { name, signal, at_once }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP was ignored when this process was started. (Where the system does not tell, it was not.)
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0
}
