//! The web program: `DATABASE_URL=postgresql://… cargo run -p newsletter-example --bin newsletter-web -- [PORT]`.

use std::time::Duration;

use newsletter::web::{App, router};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    newsletter::start_logging();
    let port: u16 = std::env::args().nth(1).map_or(Ok(8000), |port| port.parse())?;
    let (pool, queue) = newsletter::open().await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = router(App { pool: pool.clone(), queue: queue.clone() });
    axum::serve(listener, app).with_graceful_shutdown(newsletter::stop_signal()).await?;
    // No request is left: write the tasks that were added, then close the connections.
    queue.close(Duration::from_secs(5)).await?;
    pool.close().await;
    Ok(())
}
