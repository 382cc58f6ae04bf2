//! An argument without a name.

use taskyard::task;

#[task]
async fn send(to: String, _: u32) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new(), 1);
}
