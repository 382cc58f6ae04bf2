//! A result of an `impl Trait` type.

use taskyard::task;

#[task]
async fn numbers() -> impl Iterator<Item = u8> {
    [1, 2].into_iter()
}

fn main() {
    let _ = numbers();
}
