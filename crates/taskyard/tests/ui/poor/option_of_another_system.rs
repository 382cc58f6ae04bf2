//! An option under the name it has in other systems.

use taskyard::task;

#[task(retries = 5)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
