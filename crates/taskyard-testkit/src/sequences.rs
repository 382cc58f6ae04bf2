//! Random sequences: the model and a real store do the same things, and after every step everything that can be seen
//! of them is equal.
//!
//! A [`Step`] says *what kind* of thing happens and to which of the tasks, servers and attempts there are at that
//! moment (by a number that is taken modulo their count), so every list of steps is a sequence that makes sense, and
//! shrinking may drop any of them. Time stands still between steps; tokens and ids of the store are matched with the
//! model's numbers as they appear. [`check`] runs many sequences and reports the shortest one that differs.

mod compare;
mod control;
mod names;
mod pair;
mod running;
mod steps;
mod upkeep;

use std::sync::Arc;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use taskyard_core::Store;

use crate::conformance::Fixture;
pub use steps::{End, NewStep, Step, steps};

/// Applies these steps to a store without tasks and to the model.
///
/// # Errors
/// The first difference, in words, with the step before it.
pub async fn run(store: Arc<dyn Store>, steps: &[Step]) -> Result<(), String> {
    let mut pair = pair::Pair::new(store).await?;
    for (number, step) in steps.iter().enumerate() {
        pair.step(step).await.map_err(|what| format!("step {}, {step:?}: {what}", number + 1))?;
    }
    pair.compare_everything().await.map_err(|what| format!("at the end: {what}"))
}

/// Runs `cases` sequences of up to `length` steps, each on a fresh store.
///
/// `TASKYARD_SEQUENCES` multiplies the number of cases, `TASKYARD_SEED` (a number) draws others.
///
/// # Panics
/// When a store differs from the model: with the shortest sequence found and the difference.
pub fn check<Making>(cases: u32, length: usize, fresh: impl Fn() -> Making)
where
    Making: Future<Output = Fixture>,
{
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let cases = cases * number("TASKYARD_SEQUENCES").unwrap_or(1);
    let seed = number("TASKYARD_SEED").unwrap_or(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let outcome = runner.run(&steps(length), |steps| {
        runtime.block_on(async {
            let fixture = fresh().await;
            let outcome = run(Arc::clone(&fixture.store), &steps).await;
            fixture.store.close().await;
            outcome.map_err(TestCaseError::fail)
        })
    });
    match outcome {
        Ok(()) => println!("{cases} sequences of up to {length} steps, seed {seed}: equal"),
        Err(TestError::Fail(why, steps)) => {
            let listed: Vec<String> = steps.iter().map(|step| format!("    {step:?},\n")).collect();
            panic!("seed {seed}: {}\nthe shortest sequence:\n[\n{}]", why.message(), listed.concat());
        }
        Err(TestError::Abort(why)) => panic!("given up: {}", why.message()),
    }
}
