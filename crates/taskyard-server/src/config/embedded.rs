//! A child that runs within this process: for development, tests and small applications.
//!
//! Speaks the same protocol over the same kind of socket, but cannot be killed: a body that does not end is
//! abandoned and continues to run, and its late messages are ignored.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Starts a child with its end of the socket.
type Begin = dyn Fn(OwnedFd) -> io::Result<()> + Send + Sync;

/// Starts children within this process. Two values are equal if they are clones of each other.
#[derive(Clone)]
pub struct Embedded(Arc<Begin>);

impl Embedded {
    /// Creates a starter; `begin` is called with the child's end of a socket whenever a child is needed.
    pub fn new(begin: impl Fn(OwnedFd) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(begin))
    }

    pub(crate) fn begin(&self, socket: OwnedFd) -> io::Result<()> {
        (self.0)(socket)
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}

impl PartialEq for Embedded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Embedded {}
