//! `--reload`: reads changes of Python files from a watcher process of the Python package (`taskyard._reload`).

use std::path::Path;
use std::process::Stdio;

use taskyard_terminal::Failure;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::python::Python;

/// Exit code of the watcher if the Python package `watchfiles` is not installed.
const EXIT_MISSING: i32 = 5;

/// Watches the Python files below a directory.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The watcher process, which is killed when this is dropped.
    watcher: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reload {
    /// Starts the watcher; returns when it is ready, so that no later change is missed.
    ///
    /// # Errors
    /// A usage failure (exit code 2) if `watchfiles` is not installed; a failure with exit code 1 if the watcher cannot start.
    pub(crate) async fn start(python: &Python, directory: &Path) -> Result<Self, Failure> {
        let mut command = python.watcher(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let failed = |why: String| Failure::work(format!("the files of the project cannot be watched: {why}"));
        let mut watcher = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = watcher.stdout.take().ok_or_else(|| failed("its output cannot be read".into()))?;
        let mut lines = BufReader::new(stdout).lines();
        if lines.next_line().await?.is_some() {
            return Ok(Self { watcher, lines });
        }
        let status = watcher.wait().await?;
        if status.code() == Some(EXIT_MISSING) {
            return Err(Failure::usage("--reload needs the Python package `watchfiles`, which is not installed")
                .with_hint("pip install watchfiles"));
        }
        Err(failed(format!("the watcher has ended: {status}")))
    }

    /// Waits for a change and returns the changed files; `None` when the watcher has ended.
    pub(crate) async fn changed(&mut self) -> Option<String> {
        match self.lines.next_line().await {
            Ok(Some(files)) => Some(files),
            Ok(None) | Err(_) => {
                let status =
                    self.watcher.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(status, "the file watcher has ended; --reload does not notice further changes");
                None
            }
        }
    }
}
