//! The `State` of a web framework.

use taskyard::task;

mod axum {
    pub struct State<S>(pub S);
}

#[task]
async fn send(to: String, axum::State(pool): axum::State<u32>) -> usize {
    to.len() + pool as usize
}

fn main() {
    let _ = send(String::new());
}
