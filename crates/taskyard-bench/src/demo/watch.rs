//! Shows the progress of a run on stderr: bars on a terminal, a line every two seconds otherwise.
//!
//! Tasks that finish in this process are counted from its meter; tasks that other servers finish are found by polling the open
//! tasks in pages. The progress may be inexact; the report is authoritative.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use taskyard::{Store, TaskId, TaskState};
use taskyard_core::store::Final;
use taskyard_terminal::humanize::{number, size};
use taskyard_terminal::{escape, remark};

use super::begin::{PAGE, Run};
use super::meter::METER;
use super::tasks::FileStats;

/// Time between two reads of this process's meter.
const LOOK_GAP: Duration = Duration::from_millis(100);
/// Time between two reads of the database.
const STORE_GAP: Duration = Duration::from_secs(1);
/// Time between two lines without a terminal.
const LINE_GAP: Duration = Duration::from_secs(2);
/// Most files with a bar of their own.
const BARS: usize = 4;
/// Size in bytes from which a file gets a bar.
const BAR_BYTES: u64 = 4 << 20;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Tasks are open.
    Going,
    /// Only tasks that were stopped by hand are left.
    Stuck,
}

/// The progress of one run.
pub(super) struct Watch<'a> {
    files: &'a [TaskId],
    open: HashSet<TaskId>,
    stopped: HashSet<TaskId>,
    /// Index in `files` at which the next read of the database begins.
    place: usize,
    done: u64,
    failed: u64,
    bytes: u64,
    bars: Option<Bars>,
    looked_at: Instant,
    said_at: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let mut watch = Self {
            files: &run.files,
            open: run.files.iter().copied().collect(),
            stopped: HashSet::new(),
            place: 0,
            done: 0,
            failed: 0,
            bytes: 0,
            bars: io::stderr().is_terminal().then(|| Bars::new(run.files.len() as u64)),
            looked_at: Instant::now(),
            said_at: Instant::now(),
        };
        for found in &run.before {
            watch.count(found);
        }
        watch
    }

    /// Waits 100 ms, updates the counts and shows them.
    pub(super) async fn look(&mut self, store: &dyn Store) -> Seen {
        tokio::time::sleep(LOOK_GAP).await;
        self.take_own();
        if self.looked_at.elapsed() >= STORE_GAP {
            self.looked_at = Instant::now();
            self.ask(store).await;
        }
        match &mut self.bars {
            Some(bars) => bars.draw(self.done, self.failed, self.bytes + METER.bytes()),
            None if self.said_at.elapsed() >= LINE_GAP => {
                self.said_at = Instant::now();
                remark(self.words());
            }
            None => {}
        }
        if self.open.is_empty() && !self.stopped.is_empty() { Seen::Stuck } else { Seen::Going }
    }

    /// Counts the tasks whose bodies have returned in this process.
    fn take_own(&mut self) {
        for id in METER.take_done() {
            if self.open.remove(&id) {
                self.done += 1;
            }
        }
    }

    /// Reads a page of open tasks, and further pages while at least half of a page had ended, to keep up with fast servers.
    async fn ask(&mut self, store: &dyn Store) {
        let mut asked = 0;
        while asked < self.files.len() && !self.open.is_empty() {
            let mut page = Vec::with_capacity(PAGE);
            while page.len() < PAGE && asked < self.files.len() {
                let id = self.files[self.place % self.files.len()];
                self.place += 1;
                asked += 1;
                if self.open.contains(&id) {
                    page.push(id);
                }
            }
            // The next call tries again; the server logs errors of the database.
            let Ok(finals) = store.finals(&page).await else { return };
            // A body is recorded in the meter before its end is stored, so its bytes are counted there already.
            self.take_own();
            for found in &finals {
                self.bytes += self.count(found);
            }
            if finals.len() * 2 < page.len() {
                return;
            }
        }
    }

    /// Counts a task that has ended; returns the size of its file in bytes, or 0 if it was counted before.
    fn count(&mut self, found: &Final) -> u64 {
        if !self.open.remove(&found.id) {
            return 0;
        }
        match found.state {
            TaskState::Done => self.done += 1,
            TaskState::Stopped => {
                self.stopped.insert(found.id);
            }
            _ => self.failed += 1,
        }
        let stats = found.result.as_deref().and_then(|result| serde_json::from_slice::<FileStats>(result).ok());
        stats.map_or(0, |stats| stats.bytes)
    }

    /// Returns the progress as text: `120 of 500 files, 3.4 MiB read, 1 failed`.
    pub(super) fn words(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", number(self.failed)) } else { String::new() };
        let (ended, all) = (number(self.done + self.failed), number(self.files.len() as u64));
        format!("{ended} of {all} files, {} read{failed}", size(self.bytes + METER.bytes()))
    }

    /// Prints a line without disturbing the bars.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| remark(text)),
            None => remark(text),
        }
    }

    /// Removes the bars.
    pub(super) fn end(&mut self) {
        self.take_own();
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    files: Vec<(TaskId, ProgressBar)>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

impl Bars {
    fn new(files: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(ProgressBar::new(files));
        total.set_style(style("{bar:30} {human_pos}/{human_len} files  {msg}  {elapsed}, {eta} left"));
        Self { all, total, files: Vec::new() }
    }

    fn draw(&mut self, done: u64, failed: u64, bytes: u64) {
        let failed_words = if failed > 0 { format!("  {} failed", number(failed)) } else { String::new() };
        self.total.set_position(done + failed);
        self.total.set_message(format!("{}{failed_words}", size(bytes)));
        let open = METER.open();
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.files.drain(..).partition(|(id, _)| open.iter().any(|(other, _)| other == id));
        self.files = kept;
        for (_, bar) in gone {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for (id, reading) in &open {
            let (read, total) = (reading.read.load(Ordering::Relaxed), reading.total.load(Ordering::Relaxed));
            match self.files.iter().find(|(other, _)| other == id) {
                Some((_, bar)) => bar.set_position(read),
                None if total >= BAR_BYTES && self.files.len() < BARS => {
                    let bar = self.all.add(ProgressBar::new(total));
                    bar.set_style(style("{bar:30} {bytes}/{total_bytes}  {wide_msg}"));
                    bar.set_message(escape::line(&reading.name).into_owned());
                    bar.set_position(read);
                    self.files.push((*id, bar));
                }
                None => {}
            }
        }
    }

    fn clear(self) {
        for (_, bar) in &self.files {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
        let _ = self.all.clear();
    }
}
