//! `taskyard bench`: measures throughput and latency on this database and this machine.
//!
//! Every rate ends with a durable write: an addition counts when it is acknowledged, a drained task when its result is durable.
//! The raw figures (`raw`) use SQL alone over one connection, so that ratios compare figures of one run on one machine. The
//! bench does not delete its tasks, so it needs a database of its own.

mod add;
mod drain;
mod held;
mod pickup;
mod postgres;
mod raw;
mod report;
mod tasks;

use std::io;
use std::time::Duration;

use clap::Args;
use taskyard::{Error, Taskyard};
use taskyard_terminal::{Failure, Out, remark};
use tokio::process::Command;

use report::BenchResults;

const PARTS: [&str; 6] = ["add", "bulk", "drain", "pickup", "rest", "raw"];

/// Measure enqueue, drain and pick-up latency on this database
#[derive(Args, Clone, Debug)]
pub struct Bench {
    /// Tasks to add in bulk and to drain
    #[arg(long, default_value_t = 200_000)]
    tasks: usize,
    /// Seconds for each of the awaited additions and raw figures
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Pick-up samples
    #[arg(long, default_value_t = 5_000)]
    samples: usize,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_parser = PARTS)]
    only: Vec<String>,
    /// Workers of the draining server (default: the CPU count)
    #[arg(long)]
    workers: Option<usize>,
    /// Rows to add before the measurement, which should not slow it: blocked, future, parked, finished, queues or elsewhere, as
    /// future=1000000; load=600 runs that many seconds of load first, held=600 the same while another session holds a
    /// transaction open until the end
    #[arg(long, value_name = "KIND=N", value_delimiter = ',')]
    beside: Vec<String>,
    /// Run as the server process of the pick-up measurement
    #[arg(long, hide = true)]
    serve: bool,
}

impl Bench {
    /// Runs the measurements and prints the figures; returns the exit code.
    ///
    /// `queue` has no namespace, because the tasks belong to this command and not to a project. `own_command` returns a command
    /// that starts this program with the same settings, to which arguments are added.
    ///
    /// # Errors
    /// A usage failure (exit code 2) for a wrong `--beside`; the error of the database, by variant of [`Error`].
    pub async fn run(
        &self,
        out: Out,
        queue: Taskyard,
        own_command: &dyn Fn() -> io::Result<Command>,
    ) -> Result<u8, Failure> {
        let queue = queue.task_set(&tasks::BENCH_TASKS);
        if self.serve {
            pickup::serve(&queue).await?;
            return Ok(0);
        }
        let address = queue.settings().database.clone().unwrap_or_default();
        let observer = postgres::Observer::connect(&address).await?;
        let mut results = BenchResults::new(&queue, observer.as_ref()).await?;
        let wants = |part: &str| self.only.is_empty() || self.only.iter().any(|name| name == part);
        let seconds = Duration::from_secs(self.seconds);

        let elsewhere = self.beside.iter().any(|beside| beside.starts_with("elsewhere="));
        let load = drain::Load {
            tasks: self.tasks,
            workers: self.workers,
            queues: elsewhere.then(|| vec!["bench".to_owned()]),
        };
        let mut held = Vec::new();
        for beside in &self.beside {
            if let Some((kind @ ("held" | "load"), length)) = beside.split_once('=') {
                let wrong = |_| Failure::usage(format!("--beside: `{beside}`: expected seconds, as in {kind}=600"));
                let length = Duration::from_secs(length.parse().map_err(wrong)?);
                if kind == "held" {
                    held.push(held::Held::open(&address).await?);
                }
                held::load(&queue, length, &load).await?;
                results.beside.push(beside.clone());
                continue;
            }
            remark(format!("bench: preparing {beside}"));
            results.beside.push(add::beside(&queue, beside).await?);
            if let Some(observer) = &observer {
                observer.tidy().await;
            }
        }
        if let (true, Some(observer)) = (wants("raw"), &observer) {
            remark("bench: raw figures by SQL alone");
            results.raw = Some(raw::measure(observer, seconds).await?);
        }
        if wants("add") {
            remark("bench: awaited additions");
            results.add_one = Some(add::awaited(&queue, 1, seconds).await?);
            results.add_hundred = Some(add::awaited(&queue, 100, seconds).await?);
            add::clear(&queue).await?;
        }
        if wants("bulk") || wants("drain") {
            remark("bench: bulk");
            results.bulk = Some(add::bulk(&queue, self.tasks).await?);
        }
        if wants("drain") {
            remark("bench: drain");
            results.drain = Some(drain::measure(&queue, observer.as_ref(), &load).await?);
        }
        if wants("pickup") {
            remark("bench: pick-up latency");
            results.pickup = Some(pickup::measure(&queue, own_command, self.samples).await?);
        }
        if wants("rest") {
            remark("bench: an idle server");
            results.rest = Some(pickup::at_rest(own_command, Duration::from_secs(20)).await?);
        }
        drop(held);
        queue.close(Duration::from_secs(10)).await?;
        if out.is_json() {
            out.json(&results)?;
        } else {
            results.print();
        }
        Ok(0)
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Database(format!("{what}: {error}"))
}
