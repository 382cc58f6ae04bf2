//! The init process of a container: reaps orphaned processes and passes signals on.
//!
//! Processes whose parent has ended become children of process 1. If process 1 does not wait for them, each stays a zombie
//! until no process can be started any more. A long-running command that finds itself to be process 1 therefore starts itself
//! once more as a child, reaps every process that ends, and exits with that child's exit code. The server cannot reap in the
//! same process, because it would consume the exit statuses of its own workers.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, kill_process, wait};
use rustix::termios::tcsetpgrp;
use taskyard_terminal::Failure;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{Interrupt, Interrupts};

/// Longest time between two checks for ended children, in case a SIGCHLD was lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs this command line in a child process if this process is process 1, and returns the child's exit code; returns `None`
/// otherwise.
///
/// # Errors
/// A failure with exit code 1 if the runtime, the signal handlers or the child cannot be started.
pub(crate) fn run_below() -> Result<Option<u8>, Failure> {
    if !getpid().is_init() {
        return Ok(None);
    }
    let cannot =
        |error: std::io::Error| Failure::work(format!("process 1 cannot start the command as its child: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        // Installed before the child starts, so that neither its end nor a request to stop is missed.
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
    // Python finds its virtual environment by the name under which it was started, so argv[0] is passed on.
    command.arg0(arguments.next().unwrap_or_default()).args(arguments);
    // The child gets its own process group, so that a Ctrl-C on the terminal reaches it once and not also through this process.
    let child = command.process_group(0).spawn()?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Only the foreground group may read from the terminal. A failure matters only to a child that reads.
        let _ = tcsetpgrp(&stdin, id);
    }
    Ok(id)
}

fn pass_on(child: Pid, interrupt: Interrupt) {
    // Fails if the child has just ended; then the next `reap` returns its exit code.
    let _ = kill_process(child, interrupt.signal);
}

/// Reaps every process that has ended; returns the exit code once the command's own process is among them.
fn reap(child: Pid) -> Option<u8> {
    while let Ok(Some((id, status))) = wait(WaitOptions::NOHANG) {
        if id == child {
            return Some(exit_code(status));
        }
    }
    None
}

/// Returns the exit code as a shell does: 128 plus the signal's number for a process that was killed.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
