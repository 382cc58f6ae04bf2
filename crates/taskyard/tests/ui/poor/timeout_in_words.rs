//! A time limit in words.

use taskyard::task;

#[task(timeout = "half an hour")]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
