//! A capture without its type.

use taskyard::local;

fn main() {
    let name = String::from("ada");
    let _ = local!(|name| async move { name.len() });
}
