//! A function with a lifetime parameter.

use taskyard::task;

use std::borrow::Cow;

#[task]
async fn send<'a>(to: Cow<'a, str>) -> usize {
    to.len()
}

fn main() {
    let _ = send("ada@example.org".into());
}
