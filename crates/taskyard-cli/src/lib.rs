//! Part of Taskyard.
