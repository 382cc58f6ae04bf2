//! What belongs to the process that made it: after a `fork` it is neither used nor dropped in the child, whose copy of it
//! has no threads and shares its sockets with the parent.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use pyo3::prelude::*;

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

/// Keeps an object for as long as the process lives, beyond the end of the interpreter: in a forked child, a suspended coroutine
/// of the parent must not be collected, for that would run its `finally` blocks.
#[pyfunction]
pub fn keep(object: Py<PyAny>) {
    std::mem::forget(object);
}
