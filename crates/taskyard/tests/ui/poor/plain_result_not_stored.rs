//! A result that serde cannot serialise, of a task that cannot fail and is not async.

use taskyard::task;

pub struct Connection;

#[task]
fn open(to: String) -> Connection {
    let _ = to;
    Connection
}

fn main() {
    let _ = open(String::new());
}
