//! The total time of all nemesis tests in the gate, and their turns: one runs at a time, because two would measure each
//! other.
//!
//! Every wait has a [`Bound`], which ends with the time of the gate at the latest, so that its test fails with a list
//! of unsettled tasks. A test that hangs anywhere else is reported by a thread that ends the process and all processes
//! that it started. Explicitly requested runs (`cargo dev nemesis --seeds` or `--tasks`) have no such limit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// From the beginning of the first test until the process ends.
const GATE_MAX: Duration = Duration::from_secs(240);
/// Waits end earlier by this much, so that their tests can report unsettled tasks and clean up.
const RESERVE: Duration = Duration::from_secs(15);

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Tests that have begun, each with its current stage.
static BEGUN: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
/// Processes that tests have started.
static PROCESSES: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the end of the gate's time, if it is limited. The first call starts it.
fn end() -> Option<Instant> {
    static END: OnceLock<Option<Instant>> = OnceLock::new();
    *END.get_or_init(|| {
        if ["TASKYARD_SEEDS", "TASKYARD_TASKS"].iter().any(|name| std::env::var_os(name).is_some()) {
            return None;
        }
        std::thread::spawn(|| {
            std::thread::sleep(GATE_MAX);
            end_process();
        });
        Some(Instant::now() + GATE_MAX)
    })
}

fn end_process() {
    let mut text = format!("the nemesis has {GATE_MAX:?} in the gate. These tests have not ended:\n");
    for (test, stage) in lock(&BEGUN).iter() {
        text.push_str(&format!("  {test}: {stage}\n"));
    }
    // The macros would write into the captured output of a test, which would not be shown.
    let _ = std::io::stderr().write_all(text.as_bytes());
    for process in lock(&PROCESSES).iter() {
        let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    }
    std::process::exit(101);
}

/// Registers a process, to be killed if the gate's time is over.
pub fn started(process: u32) {
    lock(&PROCESSES).insert(process);
}

/// Removes a process that has ended.
pub fn ended(process: u32) {
    lock(&PROCESSES).remove(&process);
}

/// The turn of a test; over when dropped.
pub struct Turn {
    test: &'static str,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for the turn of a test.
    ///
    /// # Panics
    /// If the gate's time is over before.
    pub async fn of(test: &'static str) -> Self {
        let is_over = || end().is_some_and(|end| Instant::now() + RESERVE >= end);
        lock(&BEGUN).insert(test, "waits for its turn".into());
        // A failure before the turn leaves the entry: the test has not ended well, and the process has little time
        // left.
        assert!(!is_over(), "the nemesis has {GATE_MAX:?} in the gate: they were over before `{test}` began");
        let alone = ALONE.lock().await;
        assert!(!is_over(), "the nemesis has {GATE_MAX:?} in the gate: they were over before the turn of `{test}`");
        let turn = Self { test, _alone: alone };
        turn.is_at("runs".into());
        turn
    }

    /// Like [`Turn::of`], outside of a runtime.
    pub fn blocking(test: &'static str) -> Self {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(Self::of(test))
    }

    /// Records the stage of the test, for the report if it does not end.
    pub fn is_at(&self, stage: String) {
        lock(&BEGUN).insert(self.test, stage);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&BEGUN).remove(self.test);
    }
}

/// Time limit of one wait.
#[derive(Clone, Copy)]
pub struct Bound {
    began: Instant,
    max: Duration,
    is_own: bool,
}

impl Bound {
    /// Starts a limit of at most `max` from now.
    pub fn new(max: Duration) -> Self {
        Self::within(max, end().map(|end| end.saturating_duration_since(Instant::now() + RESERVE)))
    }

    fn within(max: Duration, left: Option<Duration>) -> Self {
        let is_own = left.is_none_or(|left| max <= left);
        Self { began: Instant::now(), max: left.map_or(max, |left| max.min(left)), is_own }
    }

    pub fn is_over(&self) -> bool {
        self.began.elapsed() >= self.max
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_own {
            write!(f, "within {:?}", self.max)
        } else {
            write!(f, "within what was left ({:.0?}) of the {GATE_MAX:?} that the nemesis has in the gate", self.max)
        }
    }
}

#[test]
fn a_wait_ends_before_the_time_of_the_gate() {
    let own = Bound::within(Duration::from_secs(60), Some(Duration::from_secs(100)));
    assert!(!own.is_over() && own.to_string() == "within 60s", "{own}");
    let late = Bound::within(Duration::from_secs(60), Some(Duration::ZERO));
    assert!(late.is_over() && late.to_string().contains("in the gate"), "{late}");
    let asked = Bound::within(Duration::MAX, None);
    assert!(!asked.is_over(), "{asked}");
    assert!(Bound::new(Duration::MAX).max <= GATE_MAX - RESERVE || end().is_none());
}
