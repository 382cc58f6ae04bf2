//! Runs the shop with a server in the same process: `cargo run -p orders-example -- [DATABASE] [PORT]`.

use std::time::Duration;

use orders_example::{PriceList, router};
use taskyard::Taskyard;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let database = arguments.next().unwrap_or_else(|| "orders.db".into());
    let port: u16 = arguments.next().unwrap_or_else(|| "8000".into()).parse()?;
    let queue = Taskyard::connect(&database).await?.state(PriceList { cents_per_item: 250 });
    let server = queue.serve().await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router(queue.clone()))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    // No request is left: running tasks may finish, then the queue is closed.
    server.shutdown().await;
    queue.close(Duration::from_secs(5)).await?;
    Ok(())
}
