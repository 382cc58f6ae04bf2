//! The engine's threads: one tokio runtime for each process, made on first use, never dropped.

use std::sync::Mutex;

use pyo3::PyResult;
use pyo3::exceptions::PyRuntimeError;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::guard::Guard;
use crate::log;

/// Threads of the runtime: it waits for a database and a few sockets; the bodies run elsewhere.
const THREADS: usize = 2;

static RUNTIME: Mutex<Option<(u32, &'static Guard<Runtime>)>> = Mutex::new(None);

/// The runtime of this process.
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
    // Kept for the process's life: a runtime that is dropped joins its threads, and an interpreter that ends must not.
    let made: &'static Guard<Runtime> = Box::leak(Box::new(Guard::new(made)));
    *runtime = Some((process, made));
    Ok(made.handle().clone())
}
