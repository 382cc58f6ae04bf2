//! A borrowed string.

use taskyard::task;

#[task]
async fn send(to: &str) -> usize {
    to.len()
}

fn main() {
    let _ = send("ada@example.org");
}
