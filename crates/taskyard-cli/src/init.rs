//! What the first process of a container must do: end orphans' rests, and pass signals on.
//!
//! Processes whose parent has ended become children of process 1. One that does not wait for them keeps each as a zombie,
//! until no process can be started any more. A long-running command that finds itself to be process 1 therefore starts
//! itself once more, waits for every child that ends, and ends with that one's exit code. The server cannot do it on the
//! side: it would take the exit statuses of its own workers away from itself.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, kill_process, wait};
use rustix::termios::tcsetpgrp;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{Interrupt, Interrupts};
use crate::failure::Failure;

/// Ended children are looked for at least this often, in case a signal was lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs this command line once more below this process if this is process 1; answers its exit code then.
///
/// # Errors
/// It cannot be started.
pub(crate) fn run_below() -> Result<Option<u8>, Failure> {
    if !getpid().is_init() {
        return Ok(None);
    }
    let cannot = |error: std::io::Error| Failure::work(format!("process 1 cannot start itself once more: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        // Before the child is there: none of its ends is missed, and no request to stop.
        let mut ended = signal(SignalKind::child()).map_err(cannot)?;
        let mut interrupts = Interrupts::listen()?;
        let child = start().map_err(cannot)?;
        loop {
            tokio::select! {
                interrupt = interrupts.next() => pass_on(child, interrupt),
                _ = ended.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Some(code) = reap(child) {
                return Ok(Some(code));
            }
        }
    })
}

fn start() -> std::io::Result<Pid> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    // An interpreter finds its environment by the name under which it was started.
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    // A group of its own: a Ctrl-C on the terminal reaches it once, not also through this process.
    let child = command.process_group(0).spawn()?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Without it the child could not read from the terminal; what does not read does not need it.
        let _ = tcsetpgrp(&stdin, id);
    }
    Ok(id)
}

fn pass_on(child: Pid, interrupt: Interrupt) {
    // It may have ended just now; then its exit code is what is seen next.
    let _ = kill_process(child, interrupt.signal);
}

/// Waits for all that has ended; the command's own end gives the exit code.
fn reap(child: Pid) -> Option<u8> {
    while let Ok(Some((id, status))) = wait(WaitOptions::NOHANG) {
        if id == child {
            return Some(exit_code(status));
        }
    }
    None
}

/// As a shell says it: 128 and the signal's number for one that was killed.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
