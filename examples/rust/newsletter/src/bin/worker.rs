//! The worker program: `DATABASE_URL=postgresql://… cargo run -p newsletter-example --bin newsletter-worker`.
//!
//! A program that uses no item of its library of tasks needs `use newsletter as _;`, or the linker omits the tasks.

use std::time::Duration;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    newsletter::start_logging();
    let (pool, queue) = newsletter::open().await?;
    let queue = queue.state(pool.clone());
    let server = queue.serve().await?;
    println!("running tasks");
    let exit = tokio::select! {
        // Running tasks may finish first.
        () = newsletter::stop_signal() => server.shutdown().await,
        exit = server.wait() => exit,
    };
    queue.close(Duration::from_secs(5)).await?;
    pool.close().await;
    // Not 0 if the server ended on its own, so that the service manager starts a new process.
    Ok(exit.exit_code().into())
}
