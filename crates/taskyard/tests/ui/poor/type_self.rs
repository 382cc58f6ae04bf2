//! A name that only its type has.

use taskyard::task;

struct Mail;

impl Mail {
    #[task]
    async fn send(mail: Self) {
        let _ = mail;
    }
}

fn main() {
    let _ = Mail::send(Mail);
}
