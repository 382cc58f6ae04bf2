//! A capture that no variable has.

use taskyard::local;

fn main() {
    let _ = local!(|context: taskyard::TaskContext| async move { context.attempt() });
}
