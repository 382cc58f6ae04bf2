//! A list of values that serde cannot serialise, in a task that is not async.

use taskyard::task;

pub struct Row;

#[task]
fn count(rows: Vec<Row>) -> usize {
    rows.len()
}

fn main() {
    let _ = count(Vec::new());
}
