//! A body that cannot move between threads.

use taskyard::task;

#[task]
async fn send(to: String) -> usize {
    let shared = std::rc::Rc::new(to);
    std::future::ready(()).await;
    shared.len()
}

fn main() {
    let _ = send(String::new());
}
