//! An argument of a type that serde cannot serialise.

use taskyard::task;

struct Connection;

#[task]
async fn send(to: String, connection: Connection) -> usize {
    let _ = connection;
    to.len()
}

fn main() {
    let _ = send(String::new(), Connection);
}
