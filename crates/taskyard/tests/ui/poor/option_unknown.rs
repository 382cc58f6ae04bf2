//! An unknown option that resembles none.

use taskyard::task;

#[task(colour = "red")]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
