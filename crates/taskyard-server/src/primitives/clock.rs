//! This host's monotonic clock, by which a server stops itself when its lease must be over. Includes the time for which
//! the machine was suspended, if the system has such a clock.

use std::time::Duration;

/// Returns the time since a fixed instant.
#[cfg(target_os = "linux")]
pub(crate) fn elapsed() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns the time since a fixed instant.
#[cfg(not(target_os = "linux"))]
pub(crate) fn elapsed() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
