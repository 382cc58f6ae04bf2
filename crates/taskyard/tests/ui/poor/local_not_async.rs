//! A closure that is not async.

use taskyard::local;

fn main() {
    let left = 1;
    let _ = local!(|left: u32| left + 1);
}
