//! The program's own log: to stderr, chosen by `TASKYARD_LOG` or `RUST_LOG`, one line per event whatever it contains.
//!
//! Events inside a task go to the database as well, through [`taskyard::TaskLogLayer`], whatever stderr shows.

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, Write};
use std::panic;
use std::sync::Once;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::escape;
use crate::failure::Failure;

/// Starts logging; `default` counts when the environment says nothing. A second call changes nothing.
///
/// # Errors
/// A filter that cannot be read.
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
    // What a task's body says is kept from INFO on; what the libraries beneath it say in detail is not its log.
    let kept = taskyard::TaskLogLayer::new().with_filter(LevelFilter::INFO);
    escape_panics();
    // Only fails if a subscriber is there already: an application's own, or an earlier run in this process.
    let _ = tracing_subscriber::registry().with(lines).with(kept).try_init();
    Ok(())
}

/// Shows a panic's message escaped if it has to be: what a body panics with may come from a row. Any other panic goes to the
/// hook that was there, the standard one or the application's.
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

/// Stderr, where an event is one line and moves no cursor.
struct OneLine;

impl Write for OneLine {
    /// The formatter hands over a whole event at once.
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
