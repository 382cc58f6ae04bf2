//! A generic function.

use taskyard::task;

#[task]
async fn send<T: ToString>(to: T) -> usize {
    to.to_string().len()
}

fn main() {
    let _ = send(1);
}
