//! An argument of any type that converts.

use taskyard::task;

#[task]
async fn send(to: impl Into<String>) -> usize {
    to.into().len()
}

fn main() {
    let _ = send("ada@example.org");
}
