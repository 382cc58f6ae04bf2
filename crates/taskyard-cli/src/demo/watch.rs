//! How far a run is, while it runs: bars on a terminal, a line now and then otherwise. All of it goes to stderr.
//!
//! What this process's bodies finish is counted as they say; what other servers finish is seen by looking at a part of
//! the open tasks in turn. The report, not this, is the truth.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use taskyard::{Store, TaskId, TaskState};
use taskyard_core::store::Final;

use super::begin::{PAGE, Run};
use super::meter::METER;
use super::tasks::Figures;
use crate::escape;
use crate::moment::{number, size};
use crate::out::remark;

/// Between two looks at this process's own bodies.
const LOOK_GAP: Duration = Duration::from_millis(100);
/// Between two looks at the database.
const STORE_GAP: Duration = Duration::from_secs(1);
/// Between two lines without a terminal.
const LINE_GAP: Duration = Duration::from_secs(2);
/// Files with a bar of their own, and the size from which they get one.
const BARS: usize = 4;
const BAR_BYTES: u64 = 4 << 20;

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It goes on.
    Going,
    /// Nothing is left but what someone stopped.
    Stuck,
}

/// The progress of one run.
pub(super) struct Watch<'a> {
    files: &'a [TaskId],
    open: HashSet<TaskId>,
    stopped: HashSet<TaskId>,
    /// Where the next look at the database begins.
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

    /// Waits a moment, looks, shows.
    pub(super) async fn look(&mut self, store: &dyn Store) -> Seen {
        tokio::time::sleep(LOOK_GAP).await;
        for id in METER.take_done() {
            if self.open.remove(&id) {
                self.done += 1;
            }
        }
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

    /// Looks at a page of open tasks; goes on while most of a page had ended, for others may be fast.
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
            // The next look tries again; the server says what is wrong with the database.
            let Ok(finals) = store.finals(&page).await else { return };
            for found in &finals {
                self.bytes += self.count(found);
            }
            if finals.len() * 2 < page.len() {
                return;
            }
        }
    }

    /// Counts a task that has ended; answers how many bytes its file has.
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
        let figures = found.result.as_deref().and_then(|result| serde_json::from_slice::<Figures>(result).ok());
        figures.map_or(0, |figures| figures.bytes)
    }

    /// `120 of 500 files, 3.4 MiB read, 1 failed`.
    pub(super) fn words(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", number(self.failed)) } else { String::new() };
        let (ended, all) = (number(self.done + self.failed), number(self.files.len() as u64));
        format!("{ended} of {all} files, {} read{failed}", size(self.bytes + METER.bytes()))
    }

    /// A line that does not disturb the bars.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| remark(text)),
            None => remark(text),
        }
    }

    /// Takes the bars away.
    pub(super) fn end(&mut self) {
        for id in METER.take_done() {
            if self.open.remove(&id) {
                self.done += 1;
            }
        }
        if let Some(bars) = self.bars.take() {
            let _ = bars.all.clear();
        }
    }
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    files: Vec<ProgressBar>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

impl Bars {
    fn new(files: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(ProgressBar::new(files));
        total.set_style(style("{bar:40} {human_pos}/{human_len} files  {msg}  {per_sec}  {elapsed}, {eta} left"));
        let files = (0..BARS)
            .map(|_| {
                let bar = all.add(ProgressBar::new(0));
                bar.set_style(style("{bar:40} {bytes}/{total_bytes}  {msg}"));
                bar
            })
            .collect();
        Self { all, total, files }
    }

    fn draw(&mut self, done: u64, failed: u64, bytes: u64) {
        let failed_words = if failed > 0 { format!("  {} failed", number(failed)) } else { String::new() };
        self.total.set_position(done + failed);
        self.total.set_message(format!("{}{failed_words}", size(bytes)));
        let open = METER.open();
        let mut large = open.iter().filter(|(_, reading)| reading.total.load(Ordering::Relaxed) >= BAR_BYTES);
        for bar in &self.files {
            match large.next() {
                Some((_, reading)) => {
                    bar.set_length(reading.total.load(Ordering::Relaxed));
                    bar.set_position(reading.read.load(Ordering::Relaxed));
                    bar.set_message(escape::line(&reading.name).into_owned());
                }
                None => {
                    bar.set_length(0);
                    bar.set_position(0);
                    bar.set_message("");
                }
            }
        }
    }
}
