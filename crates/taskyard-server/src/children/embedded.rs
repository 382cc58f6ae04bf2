//! A child that lives in this very process: for development, tests, and small applications.
//!
//! It speaks the same frames over the same kind of socket. What it cannot do is die: a body that does not yield is
//! given up, as its late words do not count, but it goes on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Starts one: takes the child's end of the socket.
type Begin = dyn Fn(OwnedFd) -> io::Result<()> + Send + Sync;

/// How a child within this process is started. Two are the same if they are clones.
#[derive(Clone)]
pub struct Embedded(Arc<Begin>);

impl Embedded {
    /// Calls `begin` with the child's end of a socket whenever a child is wanted.
    pub fn new(begin: impl Fn(OwnedFd) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(begin))
    }

    pub(super) fn begin(&self, socket: OwnedFd) -> io::Result<()> {
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
