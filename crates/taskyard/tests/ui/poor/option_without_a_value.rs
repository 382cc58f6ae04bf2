//! An option without its required value.

use taskyard::task;

#[task(queue)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
