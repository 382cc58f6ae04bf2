//! A parameter that only some builds have.

use taskyard::task;

#[task]
async fn send(to: String, #[cfg(unix)] mode: u32) -> usize {
    let _ = mode;
    to.len()
}

fn main() {
    let _ = send(String::new(), 1);
}
