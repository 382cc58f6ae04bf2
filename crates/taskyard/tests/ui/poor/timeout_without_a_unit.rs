//! A time limit without its unit.

use taskyard::task;

#[task(timeout = 30)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
