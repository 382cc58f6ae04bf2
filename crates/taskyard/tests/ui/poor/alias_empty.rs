//! An alias with an empty name.

use taskyard::task;

#[task(aliases = ["mail.send", ""])]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
