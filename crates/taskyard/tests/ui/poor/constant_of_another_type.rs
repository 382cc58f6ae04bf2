//! An option whose constant has another type.

use taskyard::task;

const RETRIES: &str = "3";

#[task(max_retries = RETRIES)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
