//! A result of a type that serde cannot serialise.

use taskyard::task;

pub struct Connection;

#[task]
async fn open(to: String) -> Result<Connection, std::io::Error> {
    let _ = to;
    Ok(Connection)
}

fn main() {
    let _ = open(String::new());
}
