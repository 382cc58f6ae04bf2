//! A server of the ledger tasks, to be killed: `faults-server DATABASE LEDGERS`. Settings come from the environment.
//!
//! It says `ready` on standard output and stops gracefully on SIGTERM, or when standard input ends.

use taskyard::Taskyard;
use taskyard::settings::{Layer, Settings};
use taskyard_faults::tasks::LEDGER_DIRECTORY;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(ledgers)) = (arguments.next(), arguments.next()) else {
        return Err("usage: faults-server DATABASE LEDGERS".into());
    };
    LEDGER_DIRECTORY.set(ledgers.into()).map_err(|_| "set once")?;
    let environment = Layer { place: "the environment".into(), values: std::env::vars().collect(), strict: false };
    let flags = Layer { place: "the command line".into(), values: vec![("database".into(), database)], strict: true };
    let queue = Taskyard::with_settings(Settings::from_layers(&[environment, flags])?).await?;
    let server = queue.serve().await?;
    println!("ready");
    let mut line = String::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => server.stop(),
        _ = async { BufReader::new(tokio::io::stdin()).read_line(&mut line).await } => server.stop(),
        _ = server.wait() => {}
    }
    server.wait().await;
    Ok(())
}
