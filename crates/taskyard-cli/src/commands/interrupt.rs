//! The signals that request a program to end, handled from the start of a server.
//!
//! Supervisors may signal the server's whole process group or control group; its workers ignore these signals and are stopped by
//! the server.

use taskyard_terminal::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of SIGINT, SIGTERM, SIGHUP (the terminal was closed) and SIGQUIT.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// `None` if SIGHUP was ignored at the start, so that this process outlives its terminal (`nohup`).
    hang_up: Option<Signal>,
}

/// A signal that requests the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    /// Name of the signal.
    pub(crate) name: &'static str,
    /// Number of the signal.
    pub(crate) signal: rustix::process::Signal,
    /// Whether running tasks are interrupted at once (SIGQUIT).
    pub(crate) at_once: bool,
}

impl Interrupts {
    /// Installs the handlers; from then on the signals no longer end the process.
    ///
    /// # Errors
    /// A failure with exit code 1 if a handler cannot be installed.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let open = |kind| signal(kind).map_err(|error| Failure::work(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            quit: open(SignalKind::quit())?,
            hang_up: if ignores_hang_up() { None } else { Some(open(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next signal.
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

/// Returns whether SIGHUP was ignored when this process was started; `false` if the system does not report it.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0
}
