//! A program that adds tasks of many forms, to be killed: `faults-client DATABASE LEDGER-DIRECTORY SEED TASKS RATE`.
//!
//! Adds `TASKS` tasks, at most `RATE` per second, in steps drawn from the seed: alone (some in the queue `narrow`), in
//! bulk, with parents, with unique keys, delayed, failing, at most once, cancelled, refused, and on PostgreSQL in
//! transactions of its own. Each is written to the ledger `client-SEED` before it is added and after the reply. Ends
//! when it has seen the end of every task that it added.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskyard::{Call, Error, OnParentFailure, RetryPolicy, TaskId, TaskRef, Taskyard};
use taskyard_faults::ledger::{Event, Ledger};
use taskyard_faults::rng::SeededRng;
use taskyard_faults::tasks::{Proof, deed, effect};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Number of steps under way at once: one that hangs does not delay the others.
const STEPS_AT_ONCE: usize = 16;
const KEYS: u64 = 20;

struct Producer {
    queue: Taskyard,
    /// Address of PostgreSQL, for transactions of its own.
    database: Option<String>,
    ledger: Ledger,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, ledgers, seed, tasks, rate] = arguments.as_slice() else {
        return Err("usage: faults-client DATABASE LEDGER-DIRECTORY SEED TASKS RATE".into());
    };
    let (seed, tasks, rate): (u64, usize, f64) = (seed.parse()?, tasks.parse()?, rate.parse()?);
    let ledger = Ledger::open(Path::new(ledgers), &format!("client-{seed}"))?;
    let queue = connected(database).await?;
    let database = database.starts_with("postgres").then(|| database.clone());
    let producer = Arc::new(Producer { queue, database, ledger });
    let mut rng = SeededRng::new(seed);
    let (mut steps, mut watchers) = (JoinSet::new(), JoinSet::new());
    let (began, mut made) = (Instant::now(), 0);
    while made < tasks {
        tokio::time::sleep_until(began + Duration::from_secs_f64(made as f64 / rate)).await;
        if steps.len() >= STEPS_AT_ONCE
            && let Some(added) = steps.join_next().await
        {
            watch(&producer, &mut watchers, added?);
        }
        let step = Step::draw(&mut rng, producer.database.is_some());
        made += step.size();
        let (producer, rng) = (Arc::clone(&producer), SeededRng::new(rng.next()));
        steps.spawn(async move { producer.take(step, rng).await });
    }
    while let Some(added) = steps.join_next().await {
        watch(&producer, &mut watchers, added?);
    }
    while watchers.join_next().await.is_some() {}
    Ok(())
}

/// Connects; the database may be unavailable at the moment.
async fn connected(database: &str) -> Result<Taskyard, Error> {
    let began = Instant::now();
    loop {
        match Taskyard::connect(database).await {
            Err(error) if error.is_transient() && began.elapsed() < Duration::from_secs(60) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

/// Records the end of each task, as this program sees it.
fn watch(producer: &Arc<Producer>, watchers: &mut JoinSet<()>, added: Vec<TaskRef<Proof>>) {
    for task in added {
        let producer = Arc::clone(producer);
        watchers.spawn(async move {
            if let Ok(found) = task.outcome().await {
                let result = found.result.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                producer.ledger.write(&[Event::Observed { task: found.id, state: found.state.to_string(), result }]);
            }
        });
    }
}

/// A step of a producer.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alone,
    Bulk(usize),
    Family(usize),
    Unique,
    Delayed(usize),
    Flaky,
    Failing,
    AtMostOnce,
    Cancelled(usize),
    Refused,
    InTransaction(usize),
    Effect,
}

impl Step {
    fn draw(rng: &mut SeededRng, postgres: bool) -> Self {
        let size = usize::try_from(rng.within(2..9)).expect("it is small");
        match rng.within(0..if postgres { 24 } else { 20 }) {
            0..6 => Self::Alone,
            6 => Self::Bulk(size * 10),
            7..10 => Self::Family(size),
            10..12 => Self::Unique,
            12 => Self::Delayed(size),
            13..15 => Self::Flaky,
            15 => Self::Failing,
            16..18 => Self::AtMostOnce,
            18 => Self::Cancelled(size),
            19 => Self::Refused,
            20..22 => Self::InTransaction(size),
            _ => Self::Effect,
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Bulk(size) | Self::Delayed(size) | Self::Cancelled(size) | Self::InTransaction(size) => size,
            Self::Family(size) => size + 2,
            Self::Refused => 2,
            _ => 1,
        }
    }
}

impl Producer {
    async fn take(&self, step: Step, mut rng: SeededRng) -> Vec<TaskRef<Proof>> {
        let millis = |rng: &mut SeededRng| rng.within(0..40);
        let quick = RetryPolicy { backoff_ms: 200, ..RetryPolicy::default() };
        match step {
            Step::Alone => {
                let queue = if rng.chance(25) { "narrow" } else { "default" };
                self.add(vec![deed(millis(&mut rng), 0).queue(queue)]).await
            }
            Step::Bulk(size) => self.add((0..size).map(|_| deed(millis(&mut rng), 0)).collect()).await,
            Step::Family(size) => self.add(family(&mut rng, size)).await,
            Step::Unique => {
                let key = format!("key-{}", rng.within(0..KEYS));
                self.add(vec![deed(millis(&mut rng), 0).unique(key)]).await
            }
            Step::Delayed(size) => {
                let later =
                    |rng: &mut SeededRng| deed(millis(rng), 0).delay(Duration::from_millis(rng.within(50..2_000)));
                self.add((0..size).map(|_| later(&mut rng)).collect()).await
            }
            Step::Flaky => self.add(vec![deed(millis(&mut rng), 2).retry(quick)]).await,
            Step::Failing => self.add(vec![deed(millis(&mut rng), u32::MAX).retry(quick).max_retries(1)]).await,
            Step::AtMostOnce => self.add(vec![deed(millis(&mut rng), 0).at_most_once()]).await,
            Step::Cancelled(size) => {
                let tasks = self.add((0..size).map(|_| deed(rng.within(0..500), 0)).collect()).await;
                tokio::time::sleep(Duration::from_millis(rng.within(0..300))).await;
                for task in &tasks {
                    self.ledger.write(&[Event::Cancelling { task: task.id() }]);
                    // An error is the database's: the task may be cancelled or not.
                    let _ = task.cancel().await;
                }
                tasks
            }
            Step::Refused => {
                let parent = TaskId::generate();
                self.add(vec![deed(0, 0), deed(0, 0).parent_id(parent)]).await
            }
            Step::InTransaction(size) => self.in_transaction(rng, size).await,
            // The body's own connection fails as the database does; the body fails with it and is retried.
            Step::Effect => {
                let policy = RetryPolicy { max_retries: 30, backoff_ms: 200, cap_ms: 1_000, ..RetryPolicy::default() };
                self.add(vec![effect(millis(&mut rng)).retry(policy)]).await
            }
        }
    }

    /// Adds a group. A transient error leaves the outcome open; any other is a refusal.
    async fn add(&self, calls: Vec<Call<Proof>>) -> Vec<TaskRef<Proof>> {
        let ids: Vec<TaskId> = calls.iter().map(id_of).collect();
        self.write(&ids, |task| Event::Adding { task });
        match self.queue.add_tasks(calls).await {
            Ok(tasks) => {
                let said = |(asked, task): (&TaskId, &TaskRef<Proof>)| match task.id() {
                    holder if holder != *asked => Event::Merged { task: *asked, holder },
                    task => Event::Added { task },
                };
                self.ledger.write(&ids.iter().zip(&tasks).map(said).collect::<Vec<_>>());
                tasks
            }
            Err(error) => {
                if !error.is_transient() {
                    self.write(&ids, |task| Event::Refused { task });
                }
                Vec::new()
            }
        }
    }

    /// Adds tasks and a note for each in one transaction; a fifth of these is rolled back.
    async fn in_transaction(&self, mut rng: SeededRng, size: usize) -> Vec<TaskRef<Proof>> {
        let Some(database) = &self.database else { return Vec::new() };
        let rolls_back = rng.chance(20);
        let calls: Vec<_> = (0..size).map(|_| deed(rng.within(0..40), 0)).collect();
        let ids: Vec<TaskId> = calls.iter().map(id_of).collect();
        self.write(&ids, |task| Event::Adding { task });
        let added = async {
            let (mut client, connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let transaction = client.transaction().await?;
            for call in calls {
                transaction.execute("INSERT INTO nemesis.note VALUES ($1)", &[&id_of(&call).0]).await?;
                self.queue.add_in(&transaction, call).await?;
            }
            tokio::time::sleep(Duration::from_millis(rng.within(0..100))).await;
            if rolls_back {
                transaction.rollback().await?;
            } else {
                transaction.commit().await?;
            }
            drop(client);
            connection.await??;
            Ok::<(), Failure>(())
        };
        // The caller itself must give up a connection without a response.
        let added = tokio::time::timeout(Duration::from_secs(20), added).await;
        match (added, rolls_back) {
            // Whatever happened to the connection, the transaction was not committed.
            (_, true) => self.write(&ids, |task| Event::Refused { task }),
            (Ok(Ok(())), false) => {
                self.write(&ids, |task| Event::Added { task });
                return ids.into_iter().map(|id| self.queue.get(id)).collect();
            }
            (_, false) => {}
        }
        Vec::new()
    }

    fn write(&self, ids: &[TaskId], event: impl Fn(TaskId) -> Event) {
        self.ledger.write(&ids.iter().map(|id| event(*id)).collect::<Vec<_>>());
    }
}

/// Returns a parent, which fails now and then, its children, and a grandchild that runs whatever happens to them.
fn family(rng: &mut SeededRng, children: usize) -> Vec<Call<Proof>> {
    let fails = if rng.chance(25) { u32::MAX } else { 0 };
    let parent = deed(rng.within(0..40), fails).max_retries(0);
    let parent_id = id_of(&parent);
    let mut all = vec![parent];
    let mut last = deed(0, 0).on_parent_failure(OnParentFailure::Run);
    for _ in 0..children {
        let child = deed(rng.within(0..40), 0).parent_id(parent_id);
        last = last.parent_id(id_of(&child));
        all.push(child);
    }
    all.push(last);
    all
}

fn id_of(call: &Call<Proof>) -> TaskId {
    call.task().expect("its arguments are plain data").id
}
