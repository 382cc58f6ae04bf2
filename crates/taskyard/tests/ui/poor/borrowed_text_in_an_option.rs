//! A borrowed string inside another type.

use taskyard::task;

#[task]
async fn send(to: String, subject: Option<&str>, parts: Vec<(u8, &[u8])>) -> usize {
    to.len() + subject.map_or(0, str::len) + parts.len()
}

fn main() {
    let _ = send(String::new(), None, Vec::new());
}
