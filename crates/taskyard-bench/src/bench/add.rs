//! Measures additions: awaited by one caller, by a hundred callers at once, and in bulk. Also fills the database for `--beside`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use taskyard::{Call, Result, TaskState, Taskyard};

use super::report::Rate;
use super::tasks::noop;

/// Tasks per `add_tasks` call.
const BULK: usize = 10_000;

/// Measures additions by `callers` concurrent callers, each awaiting that its addition is durable before the next.
pub(super) async fn awaited(queue: &Taskyard, callers: usize, seconds: Duration) -> Result<Rate> {
    queue.add(noop(-1)).await?;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (queue, stop, count) = (queue.clone(), Arc::clone(&stop), Arc::clone(&count));
        running.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                queue.add(noop(1)).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), taskyard::Error>(())
        });
    }
    tokio::time::sleep(seconds).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| taskyard::Error::Database(error.to_string()))??;
    }
    Ok(Rate::new(count.load(Ordering::Relaxed), started.elapsed()))
}

/// Measures additions in bulk, until the last is durable.
pub(super) async fn bulk(queue: &Taskyard, tasks: usize) -> Result<Rate> {
    let started = Instant::now();
    let mut next = 0;
    while next < tasks {
        let end = (next + BULK).min(tasks);
        queue.add_tasks((next..end).map(|number| noop(number as i64))).await?;
        next = end;
    }
    Ok(Rate::new(tasks as u64, started.elapsed()))
}

/// Cancels the tasks of the awaited additions, so that the drain finds only its own.
pub(super) async fn clear(queue: &Taskyard) -> Result<()> {
    let filter = taskyard::TaskFilter {
        states: vec![TaskState::Enqueued],
        queue: Some("bench".into()),
        ..taskyard::TaskFilter::default()
    };
    loop {
        let ids = queue.store().select(&filter, None, BULK).await?;
        if ids.is_empty() {
            return Ok(());
        }
        queue.store().cancel(&ids).await?;
    }
}

/// Fills the database with tasks that must not slow a claim: `future=1000000`, `blocked=…`, `parked=…`, `finished=…`,
/// `queues=5000` (one task in each), or `elsewhere=1000000` (runnable, in a queue that the server does not serve).
pub(super) async fn beside(queue: &Taskyard, what: &str) -> Result<String> {
    let wrong = |why: &str| taskyard::Error::InvalidArgument { what: "--beside", why: format!("`{what}`: {why}") };
    let (kind, count) = what.split_once('=').ok_or_else(|| wrong("expected KIND=N, for example future=1000000"))?;
    let count: usize = count.replace('_', "").parse().map_err(|_| wrong("expected a number after the ="))?;
    let far = Duration::from_secs(30 * 86_400);
    match kind {
        "future" => fill(queue, count, |call, _| call.delay(far)).await?,
        "elsewhere" => {
            fill(queue, count, |call, _| call.queue("bench-elsewhere")).await?;
            // The state that the database reaches after a server has served its queues for a while.
            while queue.store().set_apart(&["bench".to_owned()]).await?.more {}
        }
        "queues" => fill(queue, count, |call, number| call.queue(format!("bench-{number}"))).await?,
        "blocked" => {
            let parent = queue.add(noop(-1).delay(far)).await?;
            fill(queue, count, |call, _| call.parent(&parent)).await?;
        }
        "parked" | "finished" => {
            let name = if kind == "parked" { "taskyard::bench::unknown" } else { "taskyard::bench::noop" };
            fill(queue, count, |_, number| Call::new(name, &(number as i64,)).queue("bench")).await?;
            let server = queue.serve().await?;
            let states = [TaskState::Enqueued.code(), TaskState::Doing.code()];
            while queue
                .store()
                .status()
                .await?
                .by_state
                .iter()
                .zip(0_i16..)
                .any(|(count, state)| *count > 0 && states.contains(&state))
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            server.stop();
            server.wait().await;
        }
        _ => return Err(wrong("expected one of future, blocked, parked, finished, queues, elsewhere, load, held")),
    }
    Ok(what.to_owned())
}

async fn fill(queue: &Taskyard, count: usize, change: impl Fn(Call<()>, usize) -> Call<()>) -> Result<()> {
    let mut next = 0;
    while next < count {
        let end = (next + BULK).min(count);
        queue.add_tasks((next..end).map(|number| change(noop(number as i64), number))).await?;
        next = end;
    }
    Ok(())
}
