//! A capture of a type that serde cannot serialise.

use taskyard::local;

struct Connection;

fn main() {
    let connection = Connection;
    let _ = local!(|connection: Connection| async move { drop(connection) });
}
