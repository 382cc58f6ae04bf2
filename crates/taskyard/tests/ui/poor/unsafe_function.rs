//! An unsafe function.

use taskyard::task;

#[task]
async unsafe fn read(address: usize) -> u8 {
    address as u8
}

fn main() {
    let _ = read(1);
}
