//! Measures pick-up latency on an idle queue, from the call in one process to the first instruction of the body in another.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use taskyard::{Result, TaskRef, Taskyard};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::failed;
use super::report::{Latency, Rest};
use super::tasks::{monotonic, stamp};

/// Starts this program with the same settings.
type OwnCommand<'a> = &'a dyn Fn() -> io::Result<Command>;

/// Measures `samples` pick-ups with random gaps of 5 to 50 ms.
pub(super) async fn measure(queue: &Taskyard, own_command: OwnCommand<'_>, samples: usize) -> Result<Latency> {
    let server = start(own_command).await?;
    let mut refs: Vec<TaskRef<u64>> = Vec::with_capacity(samples);
    for _ in 0..20 {
        queue.add(stamp(monotonic())).await?.wait().await?;
    }
    for _ in 0..samples {
        tokio::time::sleep(Duration::from_micros(rand::random_range(5_000..50_000))).await;
        refs.push(queue.add(stamp(monotonic())).await?);
    }
    let mut nanoseconds = Vec::with_capacity(samples);
    for reference in refs {
        nanoseconds.push(reference.wait().await?);
    }
    stop(server).await?;
    Ok(Latency::new(nanoseconds))
}

/// Measures CPU time and memory of an idle server.
pub(super) async fn at_rest(own_command: OwnCommand<'_>, watch: Duration) -> Result<Rest> {
    let server = start(own_command).await?;
    let process = server.id().unwrap_or(0);
    // The first rescue, pruning and check of parked tasks belong to the start and are not measured.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu_seconds(process);
    tokio::time::sleep(watch).await;
    let cpu_percent = (cpu_seconds(process) - before) / watch.as_secs_f64() * 100.0;
    let memory_mib = super::drain::status_field(process, "VmRSS:").unwrap_or(0.0) / 1024.0;
    stop(server).await?;
    Ok(Rest { cpu_percent, memory_mib })
}

/// Runs the server in the other process until its standard input ends.
///
/// # Errors
/// The error of starting a server on this database, by variant of [`taskyard::Error`].
pub(super) async fn serve(queue: &Taskyard) -> Result<()> {
    let server = queue.serve().await?;
    println!("ready");
    let mut line = String::new();
    let _ = BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
    server.stop();
    server.wait().await;
    Ok(())
}

async fn start(own_command: OwnCommand<'_>) -> Result<Child> {
    let refused = |error: io::Error| failed("cannot start the server process", error);
    let mut command = own_command().map_err(refused)?;
    let mut child = command
        .args(["bench", "--serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(refused)?;
    let mut ready = String::new();
    let output = child.stdout.take().ok_or_else(|| failed("the server process", "its output cannot be read"))?;
    BufReader::new(output).read_line(&mut ready).await.map_err(refused)?;
    if ready.trim() != "ready" {
        return Err(failed("the server process", "it ended before the server was ready"));
    }
    Ok(child)
}

async fn stop(mut child: Child) -> Result<()> {
    drop(child.stdin.take());
    child.wait().await.map(drop).map_err(|error| failed("the server process", error))
}

/// Returns user and system time of a process in seconds, assuming Linux's ticks of 10 ms.
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
