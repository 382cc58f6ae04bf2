//! A result of any type that is a trait.

use taskyard::task;

#[task]
async fn numbers() -> impl Iterator<Item = u8> {
    [1, 2].into_iter()
}

fn main() {
    let _ = numbers();
}
