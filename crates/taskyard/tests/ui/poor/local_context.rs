//! A capture of a type that only a server supplies.

use taskyard::local;

fn main() {
    let _ = local!(|context: taskyard::TaskContext| async move { context.attempt() });
}
