//! A server in this process whose workers run in it too: for development, tests and small applications.

use std::os::fd::IntoRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use taskyard_server::children::{ChildCommand, Embedded, frame::Refusal};
use taskyard_server::{LiveConfig, ServerHandle};

use crate::mailbox::Mailbox;
use crate::queue::{Queue, Then, Weight};
use crate::reply::{Cell, Reply};
use crate::{errors, runtime};

/// Concurrency of a server that claims on demand, where the requests themselves are the limit.
const ON_DEMAND_MAX: usize = 1 << 20;

#[derive(Default)]
struct Shared {
    handle: Option<ServerHandle>,
    /// Sockets for which workers are needed.
    sockets: Vec<i32>,
    stopped: bool,
}

/// A server in this process.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Server {
    shared: Arc<Mutex<Shared>>,
    started: Arc<Cell>,
}

impl Server {
    fn handle(&self) -> Option<ServerHandle> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).handle.clone()
    }
}

#[pymethods]
impl Server {
    /// Starts a server. When it needs a worker, it adds `token` to the mailbox. With `on_demand` it claims only the
    /// tasks that its single worker requests ([`crate::channel::Channel::take`]), and `concurrency` has no effect.
    #[new]
    #[pyo3(signature = (queue, mailbox, token, workers, concurrency, on_demand=false))]
    #[allow(clippy::too_many_arguments, reason = "the settings of one server")]
    fn new(
        py: Python<'_>,
        queue: &Queue,
        mailbox: &Mailbox,
        token: u64,
        workers: usize,
        concurrency: usize,
        on_demand: bool,
    ) -> PyResult<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let started = Cell::new("starting the server");
        let runtime = runtime::handle()?;
        let (cell, inner, post) = (started.clone(), shared.clone(), mailbox.post());
        let sockets = shared.clone();
        let embedded = Embedded::new(move |socket| {
            sockets.lock().unwrap_or_else(PoisonError::into_inner).sockets.push(socket.into_raw_fd());
            post.put(token);
            Ok(())
        });
        let then = Then::new(move |taskyard: taskyard::Result<&taskyard::Taskyard>| {
            let taskyard = match taskyard {
                Ok(taskyard) => taskyard.clone(),
                Err(error) => return cell.settle(Err(Refusal::from(&error))),
            };
            runtime.spawn(async move {
                let mut config = taskyard.server_config();
                let mut command = ChildCommand::new("", [""; 0]);
                command.embedded = Some(embedded);
                command.tasks_max = 0;
                config.children = Some(command);
                config.run_rust = false;
                (config.max_workers, config.concurrency) = (workers.max(1), concurrency.max(1));
                if on_demand {
                    config.on_demand = true;
                    (config.max_workers, config.workers_min, config.concurrency) = (1, 1, ON_DEMAND_MAX);
                }
                match taskyard.serve_with(config).await {
                    Ok(handle) => {
                        let mut shared = inner.lock().unwrap_or_else(PoisonError::into_inner);
                        if shared.stopped {
                            handle.stop();
                        }
                        shared.handle = Some(handle);
                        drop(shared);
                        cell.settle(Ok(b"null".to_vec()));
                    }
                    Err(error) => cell.settle(Err(Refusal::from(&error))),
                }
            });
        });
        queue.inner()?.with(Weight::default(), then)?.map_err(|error| errors::raised(py, &error))?;
        Ok(Self { shared, started })
    }

    /// Returns a reply that arrives when the server is running.
    fn started(&self) -> Reply {
        Reply::new(self.started.clone())
    }

    /// Returns the descriptors of sockets for which a worker is needed; the caller owns them.
    fn take_sockets(&self) -> Vec<i32> {
        std::mem::take(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).sockets)
    }

    /// Stops the server, with `grace` seconds for running tasks; the reply arrives when it has ended.
    fn stop(&self, grace: f64) -> PyResult<Reply> {
        let cell = Cell::new("stopping the server");
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        match self.handle() {
            None => cell.settle(Ok(b"null".to_vec())),
            Some(handle) => {
                let grace = Duration::from_secs_f64(grace.clamp(0.0, 3600.0));
                handle.settings().update(|config| config.shutdown_grace = grace);
                handle.stop();
                let arrived = cell.clone();
                runtime::handle()?.spawn(async move {
                    handle.wait().await;
                    arrived.settle(Ok(b"null".to_vec()));
                });
            }
        }
        Ok(Reply::new(cell))
    }

    /// Returns true if the server has run and ended: stopped, or by itself, for example because its database was lost.
    fn has_ended(&self) -> bool {
        self.handle().is_some_and(|handle| handle.has_ended())
    }

    /// Ends the grace period of a stop at once.
    fn hasten(&self) {
        if let Some(handle) = self.handle() {
            handle.hasten();
        }
    }

    /// Changes settings while the server runs: times in seconds, and counts.
    fn configure(&self, workers: usize, worker_idle_timeout: f64, polling_interval: f64, fallback: f64) {
        let Some(settings) = self.handle().map(|handle: ServerHandle| -> LiveConfig { handle.settings() }) else {
            return;
        };
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.01, 1e8));
        settings.update(|config| {
            config.max_workers = workers.max(1);
            config.worker_idle_timeout = seconds(worker_idle_timeout);
            config.polling_interval = seconds(polling_interval);
            config.fallback_polling_interval = seconds(fallback);
        });
    }
}
