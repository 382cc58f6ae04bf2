//! Runs bodies in the calling process: without a database, to test one function; or against a database until no task is
//! runnable, to test an application. Neither is a server: there are no workers and no rescue.

mod drain;
mod drive;

use std::sync::Arc;

use taskyard_core::store::Claimed;
use taskyard_core::{ClaimId, NewTask, Token};

pub use drain::drain;

use crate::attempt::{Attempt, End, current};
use crate::execute::run_context::RunContext;
use crate::{BodyResult, LiveConfig, Registry, ServerConfig, TaskError};

/// Runs a task's function once in this process, without a database. Context and log lines stay in memory, and the body
/// has no client.
///
/// # Errors
/// The error of the body; an error of type `Panicked` if it panicked, of type `UnknownKind` if its kind is not
/// registered.
pub async fn run_inline(registry: &Arc<Registry>, task: &NewTask) -> BodyResult {
    crate::primitives::panics::record_locations(current::is_current);
    let Some(def) = registry.get(&task.kind) else {
        return Err(TaskError::new("UnknownKind", format!("no function of kind `{}` is registered", task.kind)));
    };
    let run_context = RunContext::new(registry.clone(), LiveConfig::new(ServerConfig::default()), None, None);
    let attempt = Attempt::new(run_context.host.clone(), claimed(task), ClaimId::generate(), Some(def), None);
    match drive::drive(registry, &attempt, def.run, None).await {
        End::Returned(result) => result,
        End::Panicked(failure) => {
            let error = TaskError::new(failure.error_type, failure.message);
            Err(match failure.traceback {
                Some(traceback) => error.with_traceback(traceback),
                None => error,
            })
        }
        End::TimedOut | End::Interrupted(_) => Err(TaskError::cancelled()),
    }
}

/// Returns the task as its first claim would.
fn claimed(task: &NewTask) -> Claimed {
    Claimed {
        id: task.id,
        token: Token::generate(),
        kind: task.kind.clone(),
        name: task.name.clone(),
        queue: task.queue.clone(),
        payload: task.payload.clone(),
        payload_encoded: task.payload_encoded,
        context: task.context.clone(),
        context_encoded: task.context_encoded,
        restricted: false,
        attempt: 1,
        failures: 0,
        retry: task.retry.clone(),
        timeout: task.timeout,
        has_parents: !task.parents.is_empty(),
        expired: false,
        alone: false,
    }
}
