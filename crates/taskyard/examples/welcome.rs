//! The Rust sample at the top of the README: `cargo run -p taskyard --example welcome`.

use taskyard::{Taskyard, task};

#[task]
async fn send_welcome(email: String) -> Result<String, std::io::Error> {
    Ok(format!("welcomed {email}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Taskyard::connect("queue.db").await?;
    let server = queue.serve().await?; // runs tasks in this process
    let task = queue.add(send_welcome("ada@example.org".into())).await?; // stored
    println!("{}", task.wait().await?); // done
    server.shutdown().await;
    Ok(())
}
