//! Taskyard.
