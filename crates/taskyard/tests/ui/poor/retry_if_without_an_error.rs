//! `retry_if` on a task that cannot fail.

use taskyard::task;

fn is_temporary(_: &std::io::Error) -> bool {
    true
}

#[task(retry_if = is_temporary)]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
