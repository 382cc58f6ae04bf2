//! The worker program: `DATABASE_URL=postgresql://… cargo run -p newsletter-example --bin newsletter-worker`.
//!
//! A program that names nothing of its library of tasks must say `use newsletter as _;`, or the linker leaves the tasks out.

use std::time::Duration;

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    newsletter::start_logging();
    let (pool, queue) = newsletter::open().await?;
    let queue = queue.state(pool.clone());
    let server = queue.serve().await?;
    println!("running tasks");
    let exit = tokio::select! {
        // Running tasks may end first.
        () = newsletter::stop_signal() => server.shutdown().await,
        exit = server.wait() => exit,
    };
    queue.close(Duration::from_secs(5)).await?;
    pool.close().await;
    // Not 0 if the server ended by itself: the service manager starts a fresh process.
    Ok(exit.exit_code().into())
}
