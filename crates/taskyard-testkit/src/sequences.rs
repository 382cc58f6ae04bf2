//! Random sequences: the model and a real store execute the same steps, and after every step everything visible is
//! equal.
//!
//! A [`Step`] describes the kind of an operation, and selects among the tasks, servers and attempts that exist at that
//! moment (by a number that is taken modulo their count), so every list of steps is a meaningful sequence, and
//! shrinking may drop any of them. Time stands still between steps; tokens and ids of the store are matched with the
//! model's numbers as they appear. [`check`] runs many sequences and reports the shortest one that differs.

mod compare;
mod control;
mod minimise;
mod names;
mod pair;
mod running;
mod steps;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use taskyard_core::Store;

use crate::conformance::Fixture;
use crate::model::Rules;
pub use steps::{End, NewStep, Step, steps};

/// Counts of each state transition and each kind of reply: a suite that never sees one proves nothing about it.
pub type Tally = BTreeMap<String, u64>;

/// A difference between a store and the model.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Number of steps before it.
    pub at: usize,
    /// Description.
    pub what: String,
}

/// Applies these steps to a store without tasks and to the model.
///
/// # Errors
/// A description of the first difference, with the step before it.
pub async fn run(store: Arc<dyn Store>, steps: &[Step]) -> Result<(), String> {
    run_with(store, steps, Rules::default()).await.map(drop).map_err(|difference| difference.what)
}

/// Like [`run`], with a model whose protocol may be broken: then a difference must be found.
///
/// # Errors
/// The first difference, with the step before it.
pub async fn run_with(store: Arc<dyn Store>, steps: &[Step], rules: Rules) -> Result<Tally, Difference> {
    let mut pair = pair::Pair::new(store, rules).await.map_err(|what| Difference { at: 0, what })?;
    for (number, step) in steps.iter().enumerate() {
        let what = |what| Difference { at: number + 1, what: format!("step {}, {step:?}: {what}", number + 1) };
        pair.step(step).await.map_err(what)?;
    }
    let what = |what| Difference { at: steps.len(), what: format!("at the end: {what}") };
    pair.compare_everything().await.map_err(what)?;
    Ok(pair.tally)
}

/// Runs `cases` sequences of `length` steps, each on a fresh store, as many at once as there are processors.
///
/// `TASKYARD_SEQUENCES` multiplies the number of cases, `TASKYARD_SEED` (a number) selects others.
///
/// # Panics
/// If a store differs from the model: with the shortest sequence found and the difference. If no sequence has seen one
/// of the transitions that matter.
pub fn check<Making>(cases: u32, length: usize, fresh: impl Fn() -> Making + Sync)
where
    Making: Future<Output = Fixture>,
{
    check_from(0, cases, length, fresh);
}

/// Like [`check`], with this seed unless `TASKYARD_SEED` sets another.
///
/// # Panics
/// As [`check`].
pub fn check_from<Making>(seed: u32, cases: u32, length: usize, fresh: impl Fn() -> Making + Sync)
where
    Making: Future<Output = Fixture>,
{
    let cases = cases * number("TASKYARD_SEQUENCES").unwrap_or(1);
    let seed = number("TASKYARD_SEED").unwrap_or(seed);
    match search(cases, length, seed, Rules::default(), &fresh) {
        Ok(tally) => {
            println!("{cases} sequences of {length} steps, seed {seed}: equal");
            tally.iter().for_each(|(what, count)| println!("{count:8} {what}"));
            let missed: Vec<&str> = MUST_BE_SEEN.into_iter().filter(|what| !tally.contains_key(*what)).collect();
            assert!(missed.is_empty(), "never seen: {missed:?}");
        }
        Err(difference) => panic!("{difference}"),
    }
}

/// Returns the difference by which a model with this broken protocol is distinguished from a store within this many
/// sequences, if it is.
pub fn tells_apart<Making>(cases: u32, length: usize, rules: Rules, fresh: impl Fn() -> Making + Sync) -> Option<String>
where
    Making: Future<Output = Fixture>,
{
    search(cases, length, 0, rules, &fresh).err()
}

/// Transitions without which the sequences would prove little.
const MUST_BE_SEEN: [&str; 18] = [
    "doing became done",
    "doing became failed",
    "doing became cancelled",
    "doing became stopped",
    "doing became waiting",
    "doing became enqueued",
    "waiting became failed",
    "waiting became enqueued",
    "failed became waiting",
    "stopped became enqueued",
    "a write was lost",
    "a write had been applied",
    "an attempt was kept as lost",
    "an attempt was kept as crashed",
    "an attempt was kept as failed",
    "an attempt was kept as snoozed",
    "one was claimed alone",
    "one was removed",
];

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn search<Making>(
    cases: u32,
    length: usize,
    seed: u32,
    rules: Rules,
    fresh: &(impl Fn() -> Making + Sync),
) -> Result<Tally, String>
where
    Making: Future<Output = Fixture>,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8) as u32;
    let tally = Mutex::new(Tally::new());
    let share = |thread: u32| cases / threads + u32::from(thread < cases % threads);
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let tally = &tally;
        let search = |thread| move || search_alone(share(thread), length, [seed, thread], rules, fresh, tally);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(search(thread))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a sequence has panicked".into())))
            .collect()
    });
    outcomes.into_iter().collect::<Result<(), String>>()?;
    Ok(tally.into_inner().unwrap_or_default())
}

fn search_alone<Making>(
    cases: u32,
    length: usize,
    seed: [u32; 2],
    rules: Rules,
    fresh: &impl Fn() -> Making,
    tally: &Mutex<Tally>,
) -> Result<(), String>
where
    Making: Future<Output = Fixture>,
{
    // proptest generates the sequences; shrinking is implemented in `minimise.rs`.
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed[0].to_le_bytes());
    bytes[4..8].copy_from_slice(&seed[1].to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let one = async |steps: &[Step]| {
        let fixture = fresh().await;
        let outcome = run_with(Arc::clone(&fixture.store), steps, rules).await;
        fixture.store.close().await;
        outcome
    };
    let first: Mutex<Option<Difference>> = Mutex::new(None);
    let outcome = runner.run(&steps(length), |steps| {
        let poisoned = |_| TestCaseError::fail("another sequence has panicked");
        match runtime.block_on(one(&steps)) {
            Ok(seen) => {
                let mut tally = tally.lock().map_err(|_| poisoned(()))?;
                seen.into_iter().for_each(|(what, count)| *tally.entry(what).or_default() += count);
                Ok(())
            }
            Err(difference) => {
                first.lock().map_err(|_| poisoned(()))?.get_or_insert(difference);
                Err(TestCaseError::fail("it differs"))
            }
        }
    });
    match (outcome, first.into_inner()) {
        (Ok(()), _) => Ok(()),
        (Err(TestError::Fail(_, steps)), Ok(Some(difference))) => {
            eprintln!("seed {seed:?}, to be shortened: {}", difference.what);
            let differs = async |steps: &[Step]| one(steps).await.err();
            let (steps, difference) = runtime.block_on(minimise::minimise(steps, difference, differs));
            let listed: Vec<String> = steps.iter().map(|step| format!("    {step:?},\n")).collect();
            Err(format!("seed {seed:?}: {}\na short sequence:\n[\n{}]", difference.what, listed.concat()))
        }
        (Err(error), _) => Err(format!("given up: {error}")),
    }
}
