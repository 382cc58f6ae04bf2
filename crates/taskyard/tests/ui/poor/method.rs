//! A method.

use taskyard::task;

struct Mailer;

impl Mailer {
    #[task]
    async fn send(&self, to: String) -> usize {
        to.len()
    }
}

fn main() {
    let _ = Mailer.send(String::new());
}
