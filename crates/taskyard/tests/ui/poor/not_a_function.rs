//! The attribute on a type.

use taskyard::task;

#[task]
struct Mail {
    to: String,
}

fn main() {
    let _ = Mail { to: String::new() }.to;
}
