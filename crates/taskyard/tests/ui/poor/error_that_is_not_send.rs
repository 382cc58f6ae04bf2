//! An error that cannot leave its thread.

use taskyard::task;

#[task]
async fn send(to: String) -> Result<usize, Box<dyn std::error::Error>> {
    Ok(to.len())
}

fn main() {
    let _ = send(String::new());
}
