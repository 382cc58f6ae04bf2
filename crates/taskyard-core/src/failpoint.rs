//! Named steps of the protocol at which a test can abort the process.
//!
//! In a build with debug assertions, `TASKYARD_FAILPOINT=finish.after` aborts the process the first time that it
//! reaches the step `finish` on the side `after`; `finish.after:3` does so the third time. Release builds hold nothing
//! of this. [`STEPS`] lists every step; `tests/faults` walks the list on both stores and checks that nothing is lost.

use std::fmt;

/// The side of a step: `Before` its effect, or `After` its effect and before anything learns of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nothing has happened yet.
    Before,
    /// The effect has happened, and its caller does not know.
    After,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// The steps, each with what it does.
pub const STEPS: &[(&str, &str)] = &[
    ("server_enter", "a server enters its row, with its first lease"),
    ("beat", "a heartbeat renews the lease"),
    ("claim", "a server claims tasks"),
    ("body", "an async body's first poll"),
    ("record", "log lines and the context of running attempts are stored"),
    ("finish", "the ends of attempts are stored"),
    ("commit", "a transaction of several statements (PostgreSQL), or any write transaction (SQLite), commits"),
    ("add", "a batch of new tasks is stored"),
    ("promote", "tasks whose time has come become runnable"),
    ("cascade", "children learn of their parent's end"),
    ("rescue", "the tasks of a dead server become runnable"),
    ("unpark", "tasks that were parked for an unknown kind become runnable"),
    ("prune", "tasks whose retention is over are deleted"),
    ("schedule_tick", "the due times of schedules are decided, and their tasks added"),
    ("dead_take", "a server takes dead letters to tell hooks of"),
    ("dead_told", "a server stores that hooks were told"),
    ("server_leave", "a server that has stopped removes its row"),
];

/// Aborts the process if the environment names this step and side. Called by [`failpoint!`](crate::failpoint!).
#[cfg(debug_assertions)]
pub fn reach(step: &'static str, side: Side) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        step: String,
        side: String,
        left: AtomicU32,
    }
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    debug_assert!(STEPS.iter().any(|(name, _)| *name == step), "`{step}` is not in the table of steps");
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("TASKYARD_FAILPOINT").ok()?;
        let (point, count) = text.split_once(':').unwrap_or((&text, "1"));
        let (step, side) = point.split_once('.').unwrap_or((point, ""));
        let known =
            STEPS.iter().any(|(name, _)| *name == step) && Side::ALL.iter().any(|known| known.to_string() == side);
        match count.parse() {
            Ok(count) if known && count > 0 => {
                Some(Armed { step: step.to_owned(), side: side.to_owned(), left: AtomicU32::new(count) })
            }
            _ => panic!("TASKYARD_FAILPOINT={text}: expected STEP.before or STEP.after, and optionally :COUNT from 1"),
        }
    });
    let Some(armed) = armed.as_ref().filter(|armed| armed.step == step && armed.side == side.to_string()) else {
        return;
    };
    if armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        eprintln!("failpoint {step}.{side}: aborting");
        std::process::abort();
    }
}

/// Aborts the process at a named step if a test asks for it: `failpoint!("claim", After)`. Nothing in a release build.
#[macro_export]
macro_rules! failpoint {
    ($step:expr, $side:ident) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reach($step, $crate::failpoint::Side::$side);
    };
}
