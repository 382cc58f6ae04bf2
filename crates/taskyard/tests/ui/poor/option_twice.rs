//! An option given twice.

use taskyard::task;

#[task(queue = "mail", queue = "post")]
async fn send(to: String) -> usize {
    to.len()
}

fn main() {
    let _ = send(String::new());
}
