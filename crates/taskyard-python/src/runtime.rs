//! The engine's threads: one tokio runtime per process, created on first use and never dropped.

use std::sync::Mutex;

use pyo3::PyResult;
use pyo3::exceptions::PyRuntimeError;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::guard::Guard;
use crate::log;

/// Number of threads of the runtime, which only waits for a database and a few sockets; bodies run elsewhere.
const THREADS: usize = 2;

static RUNTIME: Mutex<Option<(u32, &'static Guard<Runtime>)>> = Mutex::new(None);

/// Returns the runtime of this process.
pub fn handle() -> PyResult<Handle> {
    let process = std::process::id();
    let mut runtime = RUNTIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((made_by, runtime)) = *runtime
        && made_by == process
    {
        return Ok(runtime.handle().clone());
    }
    log::start();
    let made = Builder::new_multi_thread().worker_threads(THREADS).thread_name("taskyard").enable_all().build();
    let made = made.map_err(|error| PyRuntimeError::new_err(format!("cannot start the engine's threads: {error}")))?;
    // Never dropped: dropping a runtime joins its threads, which must not happen when the interpreter ends.
    let made: &'static Guard<Runtime> = Box::leak(Box::new(Guard::new(made)));
    *runtime = Some((process, made));
    Ok(made.handle().clone())
}
