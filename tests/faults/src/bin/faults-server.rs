//! A server of the ledger tasks, to be killed: `faults-server DATABASE LEDGERS`. Settings come from the environment.
//!
//! `FAULTS_STEPS` in the environment makes it reach every step of the protocol: it knows the spare tasks and has a
//! death hook. `FAULTS_PRUNE` makes it delete dead letters at once. `FAULTS_ASIDE` makes it soon set aside ends that
//! the database refuses, and try such ends often.
//!
//! Prints `ready` on standard output, and stops gracefully on SIGTERM, or when standard input ends.

use std::time::Duration;

use taskyard::Taskyard;
use taskyard::settings::{Layer, Settings};
use taskyard_faults::tasks::{DATABASE, LEDGER_DIRECTORY, SPARE_TASKS};
use tokio::io::{AsyncBufReadExt, BufReader};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::registry().with(taskyard::TaskLogLayer::new().with_filter(LevelFilter::INFO)).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(ledgers)) = (arguments.next(), arguments.next()) else {
        return Err("usage: faults-server DATABASE LEDGERS".into());
    };
    LEDGER_DIRECTORY.set(ledgers.into()).map_err(|_| "set once")?;
    DATABASE.set(database.clone()).map_err(|_| "set once")?;
    let environment = Layer { place: "the environment".into(), values: std::env::vars().collect(), strict: false };
    let flags = Layer { place: "the command line".into(), values: vec![("database".into(), database)], strict: true };
    let queue = Taskyard::with_settings(Settings::from_layers(&[environment, flags])?).await?;
    let wants = |name| std::env::var_os(name).is_some();
    let queue = if wants("FAULTS_STEPS") {
        queue.task_set(&SPARE_TASKS).on_death(async |_| Ok::<(), std::io::Error>(()))
    } else {
        queue
    };
    let mut config = queue.server_config();
    if wants("FAULTS_PRUNE") {
        config.retention.failed = Duration::ZERO;
        config.prune_every = Duration::from_millis(200);
    }
    if wants("FAULTS_ASIDE") {
        config.refused_end_max = Duration::from_millis(200);
    }
    let server = queue.serve_with(config).await?;
    println!("ready");
    let mut line = String::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => server.stop(),
        _ = async { BufReader::new(tokio::io::stdin()).read_line(&mut line).await } => server.stop(),
        _ = server.wait() => {}
    }
    server.wait().await;
    // The runtime would wait for the thread that reads standard input.
    std::process::exit(0)
}
