//! An error type that does not implement `std::error::Error`.

use taskyard::task;

pub enum Problem {
    Refused,
}

#[task]
async fn send(to: String) -> Result<usize, Problem> {
    if to.is_empty() { Err(Problem::Refused) } else { Ok(to.len()) }
}

fn main() {
    let _ = send(String::new());
}
