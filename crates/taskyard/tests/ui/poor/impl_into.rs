//! An argument of an `impl Into` type.

use taskyard::task;

#[task]
async fn send(to: impl Into<String>) -> usize {
    to.into().len()
}

fn main() {
    let _ = send("ada@example.org");
}
