//! Values that belong to the process that created them: after a `fork` they are neither used nor dropped in the child,
//! whose copy has no threads and shares its sockets with the parent.

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

    /// Returns true in the process that created the value.
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
            // SAFETY: the value is dropped once, here, and not used afterwards.
            #[allow(unsafe_code)]
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}

/// Leaks an object so that it lives as long as the process, beyond the end of the interpreter. In a forked child, a
/// suspended coroutine of the parent must not be collected, because that would run its `finally` blocks.
#[pyfunction]
pub fn keep(object: Py<PyAny>) {
    std::mem::forget(object);
}
