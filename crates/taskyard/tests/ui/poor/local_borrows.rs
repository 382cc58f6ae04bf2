//! A borrowed capture.

use taskyard::local;

fn main() {
    let name = "ada";
    let _ = local!(|name: &str| async move { name.len() });
}
