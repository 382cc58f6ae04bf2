//! A body that did not end at its first poll: a task on its worker's runtime with a time limit, dropped when the
//! attempt is interrupted.
//!
//! tokio stores the task that was woken last in a slot of the waking thread, from which no other thread takes it. If
//! the body that runs there then blocks, the task behind it waits, and an innocent attempt would fail at its time
//! limit. A body on the caller's runtime is therefore not owned by the task that polls it: when a thread is found to be
//! blocked, every pending body that is not being polled moves to another task ([`Pending::revive`]), and the previous
//! task no longer polls it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use taskyard_core::store::Outcome;
use tokio::task::unconstrained;

use super::running::Running;
use super::worker::{Worker, WorkerHost};
use crate::attempt::{Attempt, End, Interrupt, resolve_outcome};
use crate::primitives::lock::lock;

/// A pending body, and the worker that created it. The body is `None` once it has ended.
pub(super) struct Pending<H: WorkerHost> {
    worker: Arc<Worker<H>>,
    body: Mutex<Option<H::Body>>,
}

/// Continues a body of this worker as a task.
pub(super) fn adopt<H: WorkerHost>(worker: &Arc<Worker<H>>, attempt: Arc<Attempt>, body: H::Body) {
    let pending = Arc::new(Pending { worker: worker.clone(), body: Mutex::new(Some(body)) });
    let running = Running::new(attempt, Instant::now(), H::site(&worker.worker_handle, &pending));
    worker.pool.table.insert(running.clone());
    if worker.pool.is_closing() {
        running.attempt.interrupt(Interrupt::Release);
    }
    H::carry(pending, running, 0);
}

impl<H: WorkerHost> Pending<H> {
    pub fn worker(&self) -> &Worker<H> {
        &self.worker
    }

    /// Moves the body to another task, unless it is being polled or has ended.
    pub fn revive(self: &Arc<Self>, running: &Arc<Running>) {
        let Ok(body) = self.body.try_lock() else { return };
        if body.is_some() {
            let carrier = running.next_carrier();
            drop(body);
            // The previous task ends, unless it is the one that is held up.
            running.attempt.wake();
            H::carry(self.clone(), running.clone(), carrier);
        }
    }

    /// Polls the body; returns `None` if it has moved to another task.
    fn poll(&self, running: &Running, carrier: u64, cx: &mut Context<'_>) -> Poll<Option<End>> {
        // Checked before locking, because the current carrier may be blocked in the body, and again after it, where the
        // number changes.
        if !running.is_carried_by(carrier) {
            return Poll::Ready(None);
        }
        let mut held = lock(&self.body);
        let Some(body) = held.as_mut().filter(|_| running.is_carried_by(carrier)) else { return Poll::Ready(None) };
        running.polls.begin();
        let polled = running.attempt.run(|| Pin::new(body).poll(cx));
        running.polls.end();
        if !H::IS_SHARED {
            self.worker.goes_on();
        }
        let end = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => End::Returned(result),
            Err(failure) => End::Panicked(failure),
        };
        drop_body(running, &mut held);
        match running.attempt.after_body(end) {
            Ok(end) => Poll::Ready(Some(end)),
            Err(settling) => {
                *held = Some(H::adapt(settling));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Drops the body; returns false if it has ended or moved to another task.
    fn give_up(&self, running: &Running, carrier: u64) -> bool {
        if !running.is_carried_by(carrier) {
            return false;
        }
        let mut held = lock(&self.body);
        let is_ours = held.is_some() && running.is_carried_by(carrier);
        if is_ours {
            drop_body(running, &mut held);
        }
        is_ours
    }
}

/// Drops a body under the watch of the watchdog, because its destructors are user code. A panic in them is logged.
fn drop_body<B>(running: &Running, body: &mut Option<B>) {
    running.polls.begin();
    let dropped = running.attempt.run(|| drop(body.take()));
    running.polls.end();
    if let Err(failure) = dropped {
        let (task, message) = (running.attempt.id(), failure.message);
        tracing::warn!(%task, message, "a task panicked while it was dropped");
    }
}

/// The task that polls a body. The attempt is settled even if the task is dropped before its first poll.
pub(super) fn carry_on<H: WorkerHost>(
    pending: Arc<Pending<H>>,
    running: Arc<Running>,
    carrier: u64,
) -> impl Future<Output = ()> {
    let carried = Carried { pending, running, carrier };
    async move {
        if let Some(end) = carried.until_end().await {
            let took = carried.running.started.elapsed();
            let pool = &carried.pending.worker.pool;
            let concurrency = u32::try_from(pool.config().concurrency.max(1)).unwrap_or(u32::MAX);
            H::worker_group(pool).throughput.note(took / concurrency, 1);
            carried.settle(resolve_outcome(&carried.running.attempt, end));
        }
    }
}

/// A body as polled by one task. Dropping this before the body has ended drops the body and reports the attempt as cut
/// short.
struct Carried<H: WorkerHost> {
    pending: Arc<Pending<H>>,
    running: Arc<Running>,
    carrier: u64,
}

impl<H: WorkerHost> Carried<H> {
    /// Returns how the body ended; `None` if it has moved to another task.
    async fn until_end(&self) -> Option<End> {
        let Self { pending, running, carrier } = self;
        let time_limit = async {
            match running.deadline() {
                // Unconstrained, so that it also applies to a body that uses up tokio's budget at each poll.
                Some(deadline) => unconstrained(tokio::time::sleep_until(deadline.into())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            why = running.attempt.until_interrupted() => {
                pending.give_up(running, *carrier).then_some(End::Interrupted(why))
            }
            end = poll_fn(|cx| pending.poll(running, *carrier, cx)) => end,
            () = time_limit => pending.give_up(running, *carrier).then_some(End::TimedOut),
        }
    }

    fn settle(&self, outcome: Outcome) {
        let Worker { pool, worker_handle, .. } = &*self.pending.worker;
        // Removed before the end is written, because the same task may be claimed again right after.
        pool.table.remove(&self.running);
        self.running.attempt.end(outcome);
        if self.running.abandon() {
            worker_handle.task_ended();
        } else {
            // The attempt was abandoned and returned after all; its slot was released earlier.
            pool.came_back(H::IS_SHARED);
        }
        pool.changed.notify_one();
    }
}

impl<H: WorkerHost> Drop for Carried<H> {
    fn drop(&mut self) {
        // The body first: another attempt may begin as soon as the end is written.
        if self.pending.give_up(&self.running, self.carrier) {
            self.settle(Outcome::CutShort);
        }
    }
}
