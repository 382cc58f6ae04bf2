//! Graceful shutdown, on time even if the database does not respond.

use std::sync::Arc;
use std::time::Duration;
use taskyard_core::{Error, failpoint};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{ExitReason, ServerExit};
use crate::attempt::Interrupt;
use crate::loops::state::{Phase, State};
use crate::upkeep;

/// Maximum time for dropped bodies to end.
const DROP_MAX: Duration = Duration::from_millis(300);
/// Maximum time for the last writes after the grace period, however early the running tasks have ended. Together with
/// unregistering and ending the process, an exit takes at most two seconds beyond the grace period.
const WRITE_MAX: Duration = Duration::from_millis(1_400);
/// Minimum time that child processes have for stopping their application, however little of the grace period is left.
const CHILDREN_MIN: Duration = Duration::from_millis(200);
/// Maximum time for unregistering.
const LEAVE_MAX: Duration = Duration::from_millis(400);
/// Polling interval.
const STEP: Duration = Duration::from_millis(5);

pub(super) async fn shut_down(state: &Arc<State>, fetchers: &mut JoinSet<()>, stop_beat: &watch::Sender<bool>) {
    let grace = state.config().shutdown_grace;
    tracing::info!(running = state.stats().running, ?grace, "the server stops: it claims nothing more");
    let mut graced = Instant::now() + grace;
    give_back(state);
    tokio::select! {
        () = ended(state) => {}
        () = tokio::time::sleep_until(graced) => {}
        () = state.reached(Phase::Hastened) => graced = Instant::now(),
    }
    if state.stats().running > 0 {
        state.drop_work(Interrupt::Release);
        let _ = tokio::time::timeout(DROP_MAX, ended(state)).await;
        for executor in &state.executors {
            executor.release_running();
        }
    }
    give_back(state);
    tokio::select! {
        () = state.run_context.host.hook_tasks.until_none() => {}
        () = tokio::time::sleep_until(graced) => {}
        () = state.reached(Phase::Hastened) => graced = Instant::now(),
    }
    let last = graced + WRITE_MAX;
    // A claim that is still in flight may return tasks, which must be released.
    let quiet = timeout_at(last, async {
        while fetchers.join_next().await.is_some() {}
        while state.unwritten() > 0 {
            tokio::time::sleep(STEP).await;
        }
    });
    let all_written = tokio::select! {
        quiet = quiet => quiet.is_ok(),
        () = hastened(state, graced) => state.unwritten() == 0,
    };
    if all_written && Instant::now() < graced {
        tokio::select! {
            () = upkeep::deaths::deliver_rest(state) => {}
            () = tokio::time::sleep_until(graced) => {}
            () = state.reached(Phase::Hastened) => {}
        }
    }
    if all_written {
        for executor in &state.executors {
            executor.leave();
        }
        tokio::select! {
            () = children_left(state) => {}
            () = tokio::time::sleep_until(graced.max(Instant::now() + CHILDREN_MIN)) => {}
            () = state.reached(Phase::Hastened) => {}
        }
    }
    stop_beat.send_replace(true);
    if !all_written {
        tracing::warn!(
            unwritten = state.unwritten(),
            "the database did not store the last writes in time; their tasks run again when the lease has expired"
        );
        return;
    }
    // Unregisters only if everything is written: the server then holds no tasks.
    let left = async {
        let mut ended = state.beat_ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
        failpoint!("server_leave", Before);
        let left = state.store.server_leave(state.id()).await;
        failpoint!("server_leave", After);
        left
    };
    match tokio::time::timeout(LEAVE_MAX, left).await {
        Ok(Ok(())) => tracing::info!("the server has left"),
        Ok(Err(error)) => tracing::warn!(%error, "the server could not deregister; its lease will expire"),
        Err(_) => tracing::warn!("the server could not deregister in time; its lease will expire"),
    }
}

/// Ends the running tasks without a write, because the database no longer accepts any.
pub(super) async fn give_up(state: &State, error: &Error) -> ServerExit {
    tracing::error!(
        database = state.store.address(),
        running = state.stats().running,
        %error,
        "the database is lost: the server gives up its running tasks and ends; nothing more can be stored"
    );
    state.advance(Phase::Hastened);
    state.drop_work(Interrupt::Release);
    let _ = tokio::time::timeout(DROP_MAX, ended(state)).await;
    for executor in &state.executors {
        executor.release_running();
    }
    ServerExit::new(ExitReason::DatabaseLost, state)
}

/// Returns after the shutdown was hastened and the last writes have had their time.
async fn hastened(state: &State, graced: Instant) {
    state.reached(Phase::Hastened).await;
    tokio::time::sleep_until(graced.min(Instant::now()) + WRITE_MAX).await;
}

/// Returns when no child process is left.
async fn children_left(state: &State) {
    while !state.executors.iter().all(|executor| executor.has_left()) {
        tokio::time::sleep(STEP).await;
    }
}

fn give_back(state: &State) {
    for executor in &state.executors {
        state.give_back(executor.take_unstarted(Duration::ZERO));
    }
}

/// Returns when no task is running any more.
async fn ended(state: &State) {
    loop {
        give_back(state);
        if state.stats().running == 0 {
            return;
        }
        tokio::time::sleep(STEP).await;
    }
}
