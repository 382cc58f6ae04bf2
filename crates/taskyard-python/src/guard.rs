//! What belongs to the process that made it: after a `fork` it is neither used nor dropped in the child, whose copy of it
//! has no threads and shares its sockets with the parent.

use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A value of one process.
pub struct Guard<T> {
    process: u32,
    value: ManuallyDrop<T>,
}

impl<T> Guard<T> {
    pub fn new(value: T) -> Self {
        Self { process: std::process::id(), value: ManuallyDrop::new(value) }
    }

    /// Whether this is the process that made it.
    pub fn is_home(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if self.is_home() {
            // SAFETY: it is dropped once, here, and not used after.
            #[allow(unsafe_code)]
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}
