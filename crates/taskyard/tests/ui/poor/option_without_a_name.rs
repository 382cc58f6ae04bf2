//! A value without an option's name.

use taskyard::task;

#[task("mail")]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
