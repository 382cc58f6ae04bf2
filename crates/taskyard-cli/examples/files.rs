//! An application with one task, which measures a file, and every command of `taskyard`: the end-to-end tests run it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use taskyard::{TaskContext, TaskError, task};

/// The least time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Serialize, Deserialize)]
struct Measured {
    bytes: u64,
    lines: u64,
}

/// Counts the bytes and lines of a file. A file that does not exist fails the task as `FileGone`.
#[task(kind = "files::measure", timeout = "0s")]
fn measure(directory: PathBuf, name: String, context: TaskContext) -> Result<Measured, TaskError> {
    let file = File::open(directory.join(name)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => TaskError::new("FileGone", "the file is gone"),
        _ => TaskError::new("FileUnreadable", error.to_string()),
    })?;
    let total = file.metadata().map_err(TaskError::from)?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut measured = Measured { bytes: 0, lines: 0 };
    let mut reported_at = Instant::now();
    loop {
        context.check_cancelled()?;
        let block = reader.fill_buf().map_err(TaskError::from)?;
        if block.is_empty() {
            break;
        }
        measured.lines += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        measured.bytes += block.len() as u64;
        let length = block.len();
        reader.consume(length);
        if reported_at.elapsed() >= PROGRESS_INTERVAL {
            reported_at = Instant::now();
            context.progress(measured.bytes, total);
        }
    }
    context.progress(measured.bytes, measured.bytes);
    tracing::info!(bytes = measured.bytes, lines = measured.lines, "read");
    Ok(measured)
}

/// Panics with its argument.
#[task(kind = "files::panic", max_retries = 0)]
fn panics(message: String) {
    panic!("{message}");
}

fn main() -> ExitCode {
    taskyard_cli::main()
}
