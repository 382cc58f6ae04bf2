//! Writes the report: totals, the figures of every file, duplicates by digest, and failures with their reasons.
//!
//! The report can exceed the size limit of a result, so the task writes it to a file atomically and returns a summary with the
//! file's digest. The file contains the object that `--json` prints.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use taskyard::{ParentResult, Store, TaskError, TaskId, TaskState};
use taskyard_config::project::{file_error, plain};
use taskyard_terminal::{Failure, escape};

use super::exact::Exact;
use super::read::hex;
use super::tasks::FileStats;
use super::walk::Beside;

/// Number of largest files in the summary.
pub(super) const LARGEST: usize = 10;
/// Records read per statement.
const PAGE: usize = 1_000;

/// The result of the joining task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Number of regular files.
    pub(super) files: u64,
    /// Bytes of the files that were read.
    pub(super) bytes: u64,
    /// Failures: files, and directories that could not be listed.
    pub(super) failed: u64,
    /// Pipes, sockets and devices.
    pub(super) skipped: u64,
    /// Links, which are not followed.
    pub(super) links: u64,
    /// Lines of all files.
    pub(super) lines: u64,
    /// Bytes of all files under gzip, each compressed separately.
    pub(super) gzip_bytes: u64,
    /// Groups of files with the same content.
    pub(super) duplicates: u64,
    /// Bytes of all files but one in each group.
    pub(super) duplicate_bytes: u64,
    /// The largest files with their sizes.
    pub(super) largest: Vec<(Exact, u64)>,
    /// Path of the report.
    pub(super) report: Exact,
    /// SHA-256 of the report.
    pub(super) report_sha256: String,
}

/// A file in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path_b64: Option<String>,
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) gzip_bytes: u64,
}

/// A failure in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path_b64: Option<String>,
    pub(super) error: String,
}

impl Failed {
    fn new(path: &Exact, error: String) -> Self {
        Self { path: path.lossy(), path_b64: path.base64(), error }
    }
}

/// Writes the report of these parents to a temporary file beside `path` and renames it to `path`.
///
/// # Errors
/// A [`TaskError`] if a parent's result cannot be decoded, the database cannot be read or the file cannot be written.
pub(super) async fn write(
    store: &dyn Store,
    parents: Vec<ParentResult>,
    beside: Beside,
    path: &Path,
) -> Result<Summary, TaskError> {
    let files = parents.len() as u64;
    let mut items: Vec<FileStats> = Vec::with_capacity(parents.len());
    let mut fallen: Vec<(TaskId, String)> = Vec::new();
    for parent in parents {
        match (parent.state, parent.result, parent.error) {
            (TaskState::Done, Some(result), _) => items.push(serde_json::from_slice(&result)?),
            (_, _, Some(error)) => fallen.push((parent.id, error.message)),
            (state, _, None) => fallen.push((parent.id, format!("its task was {state}"))),
        }
    }
    let mut failures = named(store, &fallen).await?;
    failures.extend(beside.unlisted.iter().map(|(path, why)| Failed::new(path, why.clone())));
    if beside.unlisted_more > 0 {
        let error = format!("{} further directories cannot be listed", beside.unlisted_more);
        failures.push(Failed { path: ".".into(), path_b64: None, error });
    }
    let duplicates = duplicates(&items);
    let mut largest: Vec<&FileStats> = items.iter().collect();
    largest.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.path.cmp(&right.path)));
    let mut summary = Summary {
        files,
        bytes: items.iter().map(|item| item.bytes).sum(),
        failed: failures.len() as u64,
        skipped: beside.skipped,
        links: beside.links,
        lines: items.iter().map(|item| item.lines).sum(),
        gzip_bytes: items.iter().map(|item| item.gzip_bytes).sum(),
        duplicates: duplicates.len() as u64,
        duplicate_bytes: duplicates.iter().map(|group| group[0].bytes * (group.len() as u64 - 1)).sum(),
        largest: largest.iter().take(LARGEST).map(|item| (item.path.clone(), item.bytes)).collect(),
        report: Exact::from(path),
        report_sha256: String::new(),
    };
    summary.report_sha256 = store_file(path, &summary, &items, &duplicates, &failures)
        .map_err(|error| TaskError::new("ReportCannotBeWritten", format!("{}: {}", path.display(), plain(&error))))?;
    Ok(summary)
}

/// Reads the paths of failed tasks from their stored arguments.
async fn named(store: &dyn Store, fallen: &[(TaskId, String)]) -> Result<Vec<Failed>, TaskError> {
    #[derive(Deserialize)]
    struct Payload {
        args: (Exact, Exact),
    }
    let mut failures = Vec::with_capacity(fallen.len());
    for page in fallen.chunks(PAGE) {
        let ids: Vec<TaskId> = page.iter().map(|(id, _)| *id).collect();
        for ((id, why), record) in page.iter().zip(store.get(&ids).await?) {
            let path = record.and_then(|record| serde_json::from_slice::<Payload>(&record.payload).ok());
            let path = path.map_or_else(|| Exact(format!("task {id}").into()), |payload| payload.args.1);
            failures.push(Failed::new(&path, why.clone()));
        }
    }
    Ok(failures)
}

/// Groups files with the same digest. Groups and their files are in the order of the files; a group has at least two.
fn duplicates(items: &[FileStats]) -> Vec<Vec<&FileStats>> {
    let mut by_digest: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        by_digest.entry(&item.sha256).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = by_digest.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_unstable();
    groups.into_iter().map(|group| group.into_iter().map(|at| &items[at]).collect()).collect()
}

/// Writes the report's file and returns its digest.
fn store_file(
    path: &Path,
    summary: &Summary,
    items: &[FileStats],
    duplicates: &[Vec<&FileStats>],
    failures: &[Failed],
) -> io::Result<String> {
    let partial = path.with_extension("json.part");
    let _ = fs::remove_file(&partial);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    let mut out = Hashing { inner: BufWriter::new(file), digest: Sha256::new() };
    let Summary { files, bytes, failed, skipped, .. } = summary;
    write!(out, "{{\"files\":{files},\"bytes\":{bytes},\"failed\":{failed},\"skipped\":{skipped},\n\"items\":[")?;
    list(&mut out, items, |item| Item {
        path: item.path.lossy(),
        path_b64: item.path.base64(),
        sha256: item.sha256.clone(),
        bytes: item.bytes,
        lines: item.lines,
        gzip_bytes: item.gzip_bytes,
    })?;
    out.write_all(b"],\n\"duplicates\":[")?;
    list(&mut out, duplicates, |group| group.iter().map(|item| item.path.lossy()).collect::<Vec<_>>())?;
    out.write_all(b"],\n\"failures\":[")?;
    list(&mut out, failures, Clone::clone)?;
    out.write_all(b"]}\n")?;
    out.inner.flush()?;
    out.inner.get_ref().sync_all()?;
    fs::rename(&partial, path)?;
    Ok(hex(&out.digest.finalize()))
}

fn list<T, S: Serialize>(out: &mut impl Write, values: &[T], show: impl Fn(&T) -> S) -> io::Result<()> {
    for (at, value) in values.iter().enumerate() {
        let text = serde_json::to_string(&show(value))?;
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}\n{}", escape::json(&text))?;
    }
    Ok(())
}

struct Hashing<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Summary {
    /// Reads the report and checks its digest.
    ///
    /// # Errors
    /// [`taskyard::Error::File`] if the file cannot be read; a failure with exit code 1 if its digest is another, because a server
    /// on another host wrote the report of this run.
    pub(super) fn read(&self, path: &Path) -> Result<String, Failure> {
        let text = fs::read_to_string(path).map_err(|error| file_error(path, &error))?;
        if hex(&Sha256::digest(text.as_bytes())) == self.report_sha256 {
            Ok(text)
        } else {
            Err(Failure::work(format!("{} is not the report of this run", path.display()))
                .with_hint("a server on another host wrote the report there; stop that server and run the demo again"))
        }
    }
}
