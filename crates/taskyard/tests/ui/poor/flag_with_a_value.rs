//! A flag with a value.

use taskyard::task;

#[task(blocking = true)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
