//! A number given as a string.

use taskyard::task;

#[task(max_retries = "3")]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
