//! A parameter of type `Self`.

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
