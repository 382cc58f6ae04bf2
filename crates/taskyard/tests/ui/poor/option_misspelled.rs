//! A misspelled option.

use taskyard::task;

#[task(prority = 5)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
