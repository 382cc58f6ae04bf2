//! An option that needs a value.

use taskyard::task;

#[task(queue)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
