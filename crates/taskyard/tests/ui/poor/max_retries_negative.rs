//! A negative number of retries.

use taskyard::task;

#[task(max_retries = -1)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
