//! Logging to stderr, filtered by `TASKYARD_LOG` or `RUST_LOG`. Every event is exactly one line; its text is escaped.
//!
//! Events inside a task are stored in the database as well, through [`taskyard::TaskLogLayer`], independently of the filter
//! of stderr.

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, Write};
use std::panic;
use std::sync::Once;

use taskyard_terminal::{Failure, escape};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Starts logging; `default` is the filter if neither variable is set. A second call in the same process changes nothing.
///
/// # Errors
/// A usage failure (exit code 2) if the filter cannot be parsed.
pub(crate) fn start(default: &str) -> Result<(), Failure> {
    let (name, text) = ["TASKYARD_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.trim().is_empty()).map(|text| (name, text)))
        .unwrap_or(("", default.to_owned()));
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::usage(format!("setting {name}: {error}"))
            .with_hint("write a level (warn, info, debug) or target=level")
    })?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| OneLine).with_filter(filter);
    // A task's log stores events from INFO on; the debug events of the libraries that it uses are not part of it.
    let kept = taskyard::TaskLogLayer::new().with_filter(LevelFilter::INFO);
    escape_panics();
    // Fails only if a subscriber is set already, by the application or by an earlier run in this process.
    let _ = tracing_subscriber::registry().with(lines).with(kept).try_init();
    Ok(())
}

/// Installs a panic hook that escapes messages with control characters, because the message of a task's panic may come from a
/// row. Other panics go to the previous hook (the standard one or the application's).
fn escape_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match message(info.payload()).map(escape::event) {
            Some(Cow::Owned(shown)) => {
                let thread = std::thread::current();
                let place = info.location().map_or_else(String::new, |at| format!(" at {at}"));
                let name = escape::event(thread.name().unwrap_or("<unnamed>"));
                let _ = writeln!(io::stderr().lock(), "thread '{name}' panicked{place}:\n{shown}");
            }
            _ => before(info),
        }));
    });
}

fn message(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// A writer to stderr that escapes each event into one line.
struct OneLine;

impl Write for OneLine {
    /// Writes one event; the formatter passes each event in a single call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let shown = escape::event(text.trim_end_matches('\n')).into_owned() + "\n";
        io::stderr().lock().write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
