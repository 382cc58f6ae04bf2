//! A server as the first process of a container: it reaps orphaned processes, and stops as any other server.

use std::process::Command;

use crate::sandbox::{Running, Sandbox, eventually};

/// Returns the descendants of a process, each with its state (`Z` for a zombie) and its name.
fn children(id: u32) -> Vec<(u32, char, String)> {
    let listed =
        Command::new("ps").args(["-o", "pid=,stat=,comm=", "--ppid", &id.to_string()]).output().expect("ps runs");
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (id, state) = (words.next()?.parse().ok()?, words.next()?.chars().next()?);
        Some((id, state, words.collect::<Vec<_>>().join(" ")))
    };
    String::from_utf8_lossy(&listed.stdout).lines().filter_map(read).collect()
}

/// Returns whether users of this machine may create namespaces; in many containers they may not.
fn may_unshare() -> bool {
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "--pid", "--fork", "true"]).output();
    let may = tried.is_ok_and(|tried| tried.status.success());
    if !may {
        eprintln!("namespaces of processes are not permitted here: NOT TESTED");
    }
    may
}

/// Starts a server as process 1 of its own namespace, with a child process that it did not start.
fn start(sandbox: &Sandbox) -> (Running, u32) {
    let server = sandbox.application(&[]);
    let line = "sleep 1 & exec \"$0\" queue start";
    let mut command = Command::new("unshare");
    // Without a user namespace, only root may create a PID namespace.
    command.args(["--user", "--map-root-user", "--pid", "--fork", "sh", "-c", line]).arg(server.get_program());
    command.current_dir(sandbox.path()).env("TASKYARD_LOG", "info");
    let mut running = Running::start(&mut command);
    running.until_stderr("the server runs");
    let (first, ..) = children(running.id()).pop().expect("unshare has one child");
    (running, first)
}

#[test]
fn orphans_are_reaped_and_signals_are_passed_on() {
    if !may_unshare() {
        return;
    }
    let sandbox = Sandbox::new();
    let (running, first) = start(&sandbox);
    // The server itself is a child of process 1.
    eventually("the unknown child is gone", || {
        let below = children(first);
        below.len() == 1 && below[0].1 != 'Z' && below[0].2 != "sleep"
    });
    let (server, ..) = children(first).pop().unwrap();
    // A child of a worker that outlives the worker becomes a child of process 1, too.
    let leave = ["--user", "--preserve-credentials", "--pid", "sh", "-c", "sleep 1 & :"];
    let orphan = Command::new("nsenter").args(["--target", &server.to_string()]).args(leave).status();
    assert!(orphan.expect("nsenter starts").success());
    assert!(children(first).iter().any(|(.., name)| name == "sleep"), "it is a child of process 1 now");
    eventually("the orphan is gone", || children(first).len() == 1);
    let stopped = Command::new("kill").arg("-TERM").arg(first.to_string()).status();
    assert!(stopped.unwrap().success());
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_exit_code_is_the_servers() {
    if !may_unshare() {
        return;
    }
    let sandbox = Sandbox::new();
    let (mut running, _) = start(&sandbox);
    std::fs::remove_file(sandbox.join(".taskyard/queue.db")).unwrap();
    running.until_stderr("is lost, and the server has ended");
    assert_eq!(running.end().0.code(), Some(75));
}
