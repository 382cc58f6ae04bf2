//! A `retry_if` function for another error type.

use taskyard::task;

fn is_temporary(_: &std::fmt::Error) -> bool {
    true
}

#[task(retry_if = is_temporary)]
async fn send(to: String) -> Result<usize, std::io::Error> {
    Ok(to.len())
}

fn main() {
    let _ = send(String::new());
}
