//! Two contradictory options for where the body runs.

use taskyard::task;

#[task(local, blocking)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
