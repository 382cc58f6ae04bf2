//! Named steps of the protocol at which a test can abort the process.
//!
//! In a build with debug assertions, `TASKYARD_FAILPOINT=finish.after` aborts the process the first time that it
//! reaches the step `finish` on the side `after`; `finish.after:3` does so the third time. Release builds contain none
//! of this. [`STEPS`] lists every step; `tests/faults` runs each of them on both stores and checks that nothing is
//! lost.
//!
//! Some steps are only reached if the outcome of a call is unknown: `TASKYARD_LOSE=claim.after` loses the reply to the
//! first claim that took tasks, `claim.before` loses the first request ([`lossy`]).

use std::fmt;
use std::future::Future;

use crate::Result;

/// The side of a step: before its effect, or after its effect but before the result is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The effect has not happened.
    Before,
    /// The effect has happened, and its caller has no reply yet.
    After,
}

impl Side {
    /// Both sides.
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

/// The steps, each with a description.
pub const STEPS: &[(&str, &str)] = &[
    ("server_enter", "a server enters its row, with its first lease"),
    ("beat", "a heartbeat renews the lease"),
    ("claim", "a server claims tasks"),
    ("claimed", "a server requests a claim again whose reply was lost"),
    ("claims_held", "a server compares its claims with their rows, and resolves differences"),
    ("body", "an async body's first poll"),
    ("record", "log lines and the context of running attempts are stored"),
    ("finish", "the ends of attempts are stored"),
    ("end_set_aside", "an end that the database refuses is set aside"),
    ("end_aside_settled", "an end that was set aside, and then written, is no longer set aside"),
    ("commit", "a transaction of several statements (PostgreSQL), or any write transaction (SQLite), commits"),
    ("add", "a batch of new tasks is stored"),
    ("added", "a client asks for a batch whose reply was lost"),
    ("cancel", "tasks are cancelled"),
    ("retry", "tasks that have ended are made runnable again"),
    ("promote", "tasks whose time has come become runnable"),
    ("cascade", "children are updated after their parent's end"),
    ("rescue", "the tasks of a dead server become runnable"),
    ("unpark", "tasks that were parked for an unknown kind become runnable"),
    ("regroup", "tasks of kinds that builds refused are moved to their groups, or parked"),
    ("prune", "tasks whose retention is over are deleted"),
    ("schedule_tick", "the due times of schedules are decided, and their tasks added"),
    ("dead_take", "a server claims dead letters for hooks"),
    ("dead_told", "a server records that hooks have run"),
    ("server_leave", "a server that has stopped removes its row"),
];

/// Calls whose request or reply a test can lose.
pub const LOSSY: &[&str] = &["add", "claim"];

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Side;

    /// A step and side named by the environment, and the number of times it must still be reached before it fires.
    pub(super) struct Armed {
        step: String,
        side: String,
        left: AtomicU32,
    }

    impl Armed {
        /// Reads the variable on first use. Panics if it names none of these steps.
        pub fn get<'a>(
            cell: &'a OnceLock<Option<Self>>,
            variable: &str,
            is_step: impl Fn(&str) -> bool,
        ) -> Option<&'a Self> {
            let armed = cell.get_or_init(|| {
                let text = std::env::var(variable).ok()?;
                let (point, count) = text.split_once(':').unwrap_or((&text, "1"));
                let (step, side) = point.split_once('.').unwrap_or((point, ""));
                let known = is_step(step) && Side::ALL.iter().any(|known| known.to_string() == side);
                match count.parse() {
                    Ok(count) if known && count > 0 => {
                        Some(Self { step: step.to_owned(), side: side.to_owned(), left: AtomicU32::new(count) })
                    }
                    _ => panic!("{variable}={text}: expected STEP.before or STEP.after, and optionally :COUNT from 1"),
                }
            });
            armed.as_ref()
        }

        /// Returns whether this is the step and side, reached for the last time of the count.
        pub fn fires(&self, step: &str, side: Side) -> bool {
            self.step == step && self.side == side.to_string() && self.left.fetch_sub(1, Ordering::AcqRel) == 1
        }
    }
}

/// Aborts the process if the environment names this step and side. Called by [`failpoint!`](crate::failpoint!).
#[cfg(debug_assertions)]
pub fn reach(step: &'static str, side: Side) {
    static ARMED: std::sync::OnceLock<Option<armed::Armed>> = std::sync::OnceLock::new();
    let is_step = |step: &str| STEPS.iter().any(|(name, _)| *name == step);
    debug_assert!(is_step(step), "`{step}` is not in the table of steps");
    if armed::Armed::get(&ARMED, "TASKYARD_FAILPOINT", is_step).is_some_and(|armed| armed.fires(step, side)) {
        eprintln!("failpoint {step}.{side}: aborting");
        std::process::abort();
    }
}

#[cfg(debug_assertions)]
fn loses(step: &'static str, side: Side) -> Result<()> {
    static ARMED: std::sync::OnceLock<Option<armed::Armed>> = std::sync::OnceLock::new();
    let is_lossy = |step: &str| LOSSY.contains(&step);
    debug_assert!(is_lossy(step), "`{step}` is not in the table of calls");
    match armed::Armed::get(&ARMED, "TASKYARD_LOSE", is_lossy) {
        Some(armed) if armed.fires(step, side) => {
            Err(crate::Error::Connection(format!("failpoint {step}.{side}: unknown outcome")))
        }
        _ => Ok(()),
    }
}

/// Makes a call of a store; a test can lose its request or its reply.
///
/// If the environment names the step, the request is lost before it is sent, or the reply after the call was carried
/// out; only replies for which `counts` returns true are counted. In a release build this is only the call.
///
/// # Errors
/// Those of the call; [`Error::Connection`](crate::Error::Connection) if the request or reply was lost.
#[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "nothing is lost"))]
pub async fn lossy<T>(
    step: &'static str,
    counts: impl Fn(&T) -> bool,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    #[cfg(debug_assertions)]
    loses(step, Side::Before)?;
    let answer = call.await;
    #[cfg(debug_assertions)]
    if answer.as_ref().is_ok_and(counts) {
        loses(step, Side::After)?;
    }
    answer
}

/// Aborts the process at a named step if a test requests it: `failpoint!("claim", After)`. Expands to nothing in a
/// release build.
#[macro_export]
macro_rules! failpoint {
    ($step:expr, $side:ident) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reach($step, $crate::failpoint::Side::$side);
    };
}
