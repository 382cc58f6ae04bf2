//! The functions that the tests run, and the stage that synchronises tests and bodies.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use taskyard_core::payload::decode_args;
use taskyard_server::{AsyncBody, BodyResult, Registry, TaskContext, TaskError};
use tokio::sync::watch;

use crate::world::PATIENCE;

/// Counts events of bodies by name, and has a gate at which they wait.
#[derive(Clone, Default)]
pub struct Stage(Arc<Inner>);

#[derive(Default)]
struct Inner {
    counts: watch::Sender<HashMap<String, usize>>,
    open: Mutex<bool>,
    opened: Condvar,
    gate: watch::Sender<bool>,
}

impl Stage {
    pub fn note(&self, what: &str) {
        self.0.counts.send_modify(|counts| *counts.entry(what.to_owned()).or_default() += 1);
    }

    pub fn count(&self, what: &str) -> usize {
        self.0.counts.borrow().get(what).copied().unwrap_or(0)
    }

    /// Waits until an event was noted this many times.
    pub async fn seen(&self, what: &str, times: usize) {
        let mut counts = self.0.counts.subscribe();
        let enough = counts.wait_for(|counts| counts.get(what).copied().unwrap_or(0) >= times);
        assert!(tokio::time::timeout(PATIENCE, enough).await.is_ok(), "not seen {times} times: {what}");
    }

    pub fn open(&self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opened.notify_all();
        self.0.gate.send_replace(true);
    }

    async fn gate(&self) {
        let _ = self.0.gate.subscribe().wait_for(|open| *open).await;
    }

    /// Blocks the thread until the gate is opened.
    pub fn block(&self) {
        let open = self.0.open.lock().unwrap();
        drop(self.0.opened.wait_timeout_while(open, 2 * PATIENCE, |open| !*open).unwrap());
    }
}

/// Notes when it is dropped, to detect dropped bodies.
struct Dropped(Stage);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

fn stage(context: &TaskContext) -> Stage {
    context.state().unwrap()
}

fn json(value: impl serde::Serialize) -> Result<Vec<u8>, TaskError> {
    Ok(serde_json::to_vec(&value)?)
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

/// Declares functions, and `$all` with all of them.
macro_rules! tasks {
    ($all:ident: $($name:ident, $kind:literal, $how:ident, $run:expr;)*) => {
        $(static $name: taskyard_server::TaskDef = taskyard_server::TaskDef {
            kind: || $kind,
            aliases: &[],
            names: &[],
            states: &[],
            run: taskyard_server::Run::$how($run),
            location: concat!(file!(), ":", line!()),
        };)*

        static $all: &[&taskyard_server::TaskDef] = &[$(&$name),*];
    };
}
#[allow(unused_imports, reason = "one of the binaries declares more")]
pub(crate) use tasks;

pub fn registry(stage: &Stage) -> Registry {
    Registry::new().extend(ALL.iter().copied()).state(stage.clone())
}

fn now(f: impl Future<Output = BodyResult> + Send + 'static) -> AsyncBody {
    Box::pin(f)
}

tasks! { ALL:
    ECHO, "echo", Async, |context| now(async move {
        let (value,): (serde_json::Value,) = decode_args(context.payload(), &["value"])?;
        stage(&context).note("echo");
        json(value)
    });
    CURRENT, "current", Async, |context| now(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let found = TaskContext::current().is_some_and(|current| current.id() == context.id());
        json((found, context.idempotency_key(), context.attempt()))
    });
    BESIDE, "beside", Async, |context| now(async move {
        let stage = stage(&context);
        let others = stage.count("came") - stage.count("went");
        stage.note("came");
        tokio::time::sleep(Duration::from_millis(2)).await;
        stage.note("went");
        json(others)
    });
    CURRENT_BLOCKING, "current_blocking", Blocking, |context| {
        json(TaskContext::current().is_some_and(|current| current.id() == context.id()))
    };
    PARENTS, "parents", Async, |context| now(async move {
        let mut sum = 0;
        for parent in context.parent_results().await? {
            sum += serde_json::from_slice::<i64>(&parent.result.ok_or("no result")?)?;
        }
        json(sum)
    });
    FAIL, "fail", Async, |context| now(async move {
        stage(&context).note("fail");
        Err(TaskError::from("boom").with_type("Boom"))
    });
    FAIL_ONCE, "fail_once", Async, |context| now(async move {
        if context.attempt() == 1 { Err(std::io::Error::other("first").into()) } else { json("second") }
    });
    FAIL_HARD, "fail_hard", Async, |_| now(async { Err(TaskError::fail("never again")) });
    RETRY_AFTER, "retry_after", Async, |_| now(async {
        Err(TaskError::retry_after(Duration::from_millis(1), "later"))
    });
    SNOOZE, "snooze", Async, |context| now(async move {
        let stage = stage(&context);
        stage.note("snooze");
        if stage.count("snooze") < 3 { Err(TaskError::snooze(Duration::from_millis(1))) } else { json("awake") }
    });
    PANIC, "panic", Async, |_| now(async { panic!("no way {}", 1 + 1) });
    PANIC_BLOCKING, "panic_blocking", Blocking, |_| panic!("not here either");
    LARGE, "large", Async, |_| now(async { json("x".repeat(2 << 20)) });
    HOLD_FIRST, "hold_first", Async, |context| now(async move {
        let stage = stage(&context);
        stage.note("hold_first");
        stage.seen("first may end", 1).await;
        json(0)
    });
    HOLD, "hold", Async, |context| now(async move {
        let stage = stage(&context);
        let dropped = Dropped(stage.clone());
        stage.note("hold");
        stage.gate().await;
        std::mem::forget(dropped);
        json(context.attempt())
    });
    HOLD_BLOCKING, "hold_blocking", Blocking, |context| {
        let stage = stage(&context);
        stage.note("hold_blocking");
        stage.block();
        stage.note("left");
        json("held")
    };
    POLITE_BLOCKING, "polite_blocking", Blocking, |context| {
        stage(&context).note("polite");
        loop {
            context.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    STUCK, "stuck", Async, |context| now(async move {
        let stage = stage(&context);
        stage.note("stuck");
        stage.block();
        stage.note("left");
        json("late")
    });
    CONTEXT, "context", Async, |context| now(async move {
        context.set("a.b", vec![1, 2])?;
        context.progress(1, 4);
        context.log(20, "half way");
        context.save_context().await?;
        stage(&context).note("saved");
        stage(&context).gate().await;
        let before: Vec<i32> = context.get("a.b")?.ok_or("gone")?;
        context.set("a.c", before.len())?;
        context.progress(4, 4);
        context.log(30, "the end");
        json("ok")
    });
    COUNTS, "counts", Async, |context| now(async move {
        let tracker = context.progress_tracker()?;
        tracker.set_total(1_000_000)?;
        for _ in 0..500_000 {
            tracker.advance(1)?;
        }
        tracker.set_message("half way");
        context.save_context().await?;
        stage(&context).note("counted");
        stage(&context).gate().await;
        // Every call returns the same tracker.
        context.progress_tracker()?.advance(499_999)?;
        tracker.advance(1)?;
        json("through")
    });
    COUNTS_AGAIN, "counts_again", Async, |context| now(async move {
        let (again,): (bool,) = decode_args(context.payload(), &["again"])?;
        let tracker = if again { context.resume_progress()? } else { context.progress_tracker()? };
        if context.attempt() == 1 {
            tracker.set_total(10)?;
            tracker.advance(4)?;
            tracker.set_message("four");
            return Err(TaskError::new("ValueError", "in the middle"));
        }
        context.save_context().await?;
        let stored: f64 = context.get("progress.completed")?.unwrap_or(-1.0);
        let seen = (stored, tracker.current(), tracker.total(), tracker.message(), tracker.is_indeterminate());
        tracker.unset_total();
        context.save_context().await?;
        json(seen)
    });
    BAD_VALUES, "bad_values", Async, |context| now(async move {
        context.set("good", 1)?;
        let refused = [
            context.set("bad", f64::NAN).is_err(),
            context.set("big", "x".repeat(300 << 10)).is_err(),
            context.set("a..b", 1).is_err(),
            context.set("wide", u128::MAX).is_err(),
        ];
        context.set("after", 2)?;
        context.log(20, "y".repeat(70 << 10));
        json(refused)
    });
    REMEMBER, "remember", Async, |context| now(async move {
        let runs: u32 = context.get("runs")?.unwrap_or(0);
        context.set("runs", runs + 1)?;
        context.log(20, format!("run {runs}"));
        if runs < 2 { Err("again".into()) } else { json(runs) }
    });
    TRACED, "traced", Async, |context| now(async move {
        tracing::warn!(target: "app::mail", user = 7, name = "x", ratio = 0.5, "sent {}", 1);
        tokio::task::yield_now().await;
        tracing::info!("from {}", context.kind());
        json(())
    });
    NEST, "nest", Async, |context| now(async move {
        let (depth, width): (u32, u32) = decode_args(context.payload(), &["depth", "width"])?;
        let mut sum = 1;
        if depth > 0 {
            let call = || taskyard_core::client::Call::new("nest", &(depth - 1, width));
            let children: Vec<_> = context.client().add_tasks::<u64>((0..width).map(|_| call())).await?;
            for child in futures_util::future::join_all(children.iter().map(|child| child.wait())).await {
                sum += child?;
            }
        }
        json(sum)
    });
    NEST_BLOCKING, "nest_blocking", Blocking, |context| {
        let (depth,): (u32,) = decode_args(context.payload(), &["depth"])?;
        if depth == 0 {
            return json(1);
        }
        let call = taskyard_core::client::Call::<u64>::new("nest_blocking", &(depth - 1,));
        let child = context.client().add_later(call)?;
        json(tokio::runtime::Handle::current().block_on(child.wait())? + 1)
    };
    NEST_HOLD, "nest_hold", Async, |context| now(async move {
        let child = context.client().add(taskyard_core::client::Call::<u64>::new("hold", &()).delay(LONG)).await?;
        stage(&context).note("waits");
        json(child.wait().await?)
    });
    NEST_HOLD_BLOCKING, "nest_hold_blocking", Blocking, |context| {
        let child = context.client().add_later(taskyard_core::client::Call::<u64>::new("hold", &()).delay(LONG))?;
        stage(&context).note("waits");
        json(tokio::runtime::Handle::current().block_on(child.wait())?)
    };
    PARENT_OF_MANY, "adds", Async, |context| now(async move {
        let child = context.client().add::<i64>(taskyard_core::client::Call::new("echo", &(41,))).await?;
        json(child.wait().await? + 1)
    });
}
