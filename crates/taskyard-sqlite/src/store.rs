//! [`SqliteStore`]: implements the [`Store`] trait; each method is one operation passed to a thread of the database.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use taskyard_core::notifications::Notifications;
use taskyard_core::schedule::{DueSchedule, NewSchedule, OnConflict, ScheduleLook, ScheduleRun, Tick};
use taskyard_core::state::Runtime;
use taskyard_core::store::*;
use taskyard_core::task::{Attempt, StoredLogLine, TaskRecord};
use taskyard_core::{AdditionId, ClaimId, Error, Rate, Result, ServerId, Store, TaskId, Timestamp, Token};

use crate::identity::OpenedFile;
use crate::ops;
use crate::ops::ranges::Walk;
use crate::options::Options;
use crate::thread::reader::Readers;
use crate::thread::tx::Tx;
use crate::thread::writer::{self, WriterHandle};
use crate::wake_file::WakeFile;
use crate::{file, migrate};

/// The store in one SQLite file, created by [`SqliteStore::open`] and shared as `Arc<dyn Store>`.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    options: Options,
    notifications: Arc<Notifications>,
    wake_file: Arc<Mutex<Option<WakeFile>>>,
    file: Arc<OpenedFile>,
    walk: Arc<Mutex<Walk>>,
    writer: WriterHandle,
    readers: Readers,
}

impl SqliteStore {
    /// Opens a file with the default options. Until it is migrated, every call but `migrate` and `schema` returns
    /// `Error::SchemaTooOld`. A file that does not exist is created by `migrate`.
    ///
    /// # Errors
    /// The file at the path is never changed by an error.
    /// - `Error::File` if the path, its directory or its file system cannot be used.
    /// - `Error::CorruptFile` if the file is damaged or is not a database.
    /// - `Error::Full` if the disk is full.
    /// - `Error::SchemaTooNew` if a newer program has migrated the file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Self::open_with(path, Options::default()).await
    }

    /// Opens a file with the given options.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>> {
        let path = path.as_ref().to_path_buf();
        let network = options.network;
        let locate = move || {
            let located = file::locate(&path, network)?;
            file::inspect(&located.path)?;
            Ok::<_, Error>(located)
        };
        let located = tokio::task::spawn_blocking(locate)
            .await
            .map_err(|error| Error::Database(format!("opening the file was cancelled: {error}")))??;
        let notifications = Arc::<Notifications>::default();
        let wake_file = Arc::<Mutex<Option<WakeFile>>>::default();
        let path = located.path.clone();
        let file = Arc::new(OpenedFile::new(located));
        let writer = writer::start(Arc::clone(&file), Arc::clone(&notifications), Arc::clone(&wake_file))?;
        let readers = Readers::new(Arc::clone(&file));
        let store = Self { path, options, notifications, wake_file, file, walk: Arc::default(), writer, readers };
        let check = store.writer.chore(|writer| {
            let checked = writer.open(false).and_then(|()| writer.prepare());
            checked.map_err(|fault| writer.file_context.error(fault))
        });
        match check.await {
            // The file is not migrated yet, or is locked at the moment: neither is a reason to refuse it.
            Ok(()) | Err(Error::SchemaTooOld { .. } | Error::Connection(_)) => Ok(Arc::new(store)),
            Err(error) => {
                store.writer.close().await;
                Err(error)
            }
        }
    }

    /// Returns the absolute path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    fn hears_others(&self) -> bool {
        self.wake_file.lock().is_ok_and(|wake_file| wake_file.as_ref().is_some_and(WakeFile::hears))
    }

    fn lost(&self) -> Option<Error> {
        self.file.check(None).err().map(|gone| gone.error).filter(Error::is_permanent)
    }

    async fn migrate(&self) -> Result<MigrationReport> {
        let views = self.options.views;
        self.writer.chore(move |writer| migrate::run(writer, views)).await
    }

    async fn schema(&self) -> Result<SchemaStatus> {
        self.writer.chore(migrate::status).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.readers.read(|read| Ok(taskyard_core::time::from_micros(read.now).unwrap_or(Timestamp::MAX))).await
    }

    async fn set_clock(&self, clock: TestClock) -> Result<()> {
        self.writer.write(move |tx| ops::clock::set(tx, clock)).await
    }

    async fn add_batch(&self, request: AddRequest<'_>) -> Result<Vec<Added>> {
        let (id, batch) = (request.id, request.batch.to_vec());
        self.writer.write(move |tx| ops::add::add_as(tx, id, &batch)).await
    }

    async fn added(&self, addition: AdditionId, ids: &[TaskId]) -> Result<Vec<bool>> {
        let ids = ids.to_vec();
        // Run by the writer, so that an addition of this process that is still on its way is executed first.
        self.writer.write(move |tx| ops::add::added(tx, addition, &ids)).await
    }

    async fn get(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        let ids = ids.to_vec();
        self.readers.read(move |read| ops::get::get(read, &ids)).await
    }

    async fn present(&self, ids: &[TaskId]) -> Result<Vec<bool>> {
        let ids = ids.to_vec();
        self.readers.read(move |read| ops::get::present(read, &ids)).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        let filter = filter.clone();
        self.readers.read(move |read| ops::list::list(read, &filter)).await
    }

    async fn finals(&self, ids: &[TaskId]) -> Result<Vec<Final>> {
        let ids = ids.to_vec();
        self.readers.read(move |read| ops::get::finals(read, &ids)).await
    }

    async fn attempts(&self, id: TaskId) -> Result<Vec<Attempt>> {
        self.readers.read(move |read| ops::history::attempts(read, id)).await
    }

    async fn context(&self, id: TaskId) -> Result<Option<Vec<u8>>> {
        self.readers.read(move |read| ops::history::context(read, id)).await
    }

    async fn logs(&self, id: TaskId, after: i64, limit: usize) -> Result<Vec<StoredLogLine>> {
        self.readers.read(move |read| ops::history::logs(read, id, after, limit)).await
    }

    async fn parent_results(&self, id: TaskId) -> Result<Vec<ParentResult>> {
        self.readers.read(move |read| ops::get::parent_results(read, id)).await
    }

    async fn parent_sizes(&self, id: TaskId) -> Result<Vec<(TaskId, usize)>> {
        self.readers.read(move |read| ops::get::parent_sizes(read, id)).await
    }

    async fn children(&self, id: TaskId, limit: usize) -> Result<Vec<TaskId>> {
        self.readers.read(move |read| ops::get::children(read, id, limit)).await
    }

    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>> {
        let asked = asked.to_vec();
        self.readers.read(move |read| ops::snapshots::snapshots(read, &asked)).await
    }

    async fn cancel_because(&self, ids: &[TaskId], reason: Option<&str>) -> Result<Vec<ControlReply>> {
        let reason = reason.map(str::to_owned);
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::control::cancel(tx, &ids, reason.as_deref())).await
    }

    async fn stop(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::control::stop(tx, &ids)).await
    }

    async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        // Steps first, so that no transaction is long; the retry itself completes the rest.
        while self.cascade().await?.more {}
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::retry::retry(tx, &ids)).await
    }

    async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>> {
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::edit::set_priority(tx, &ids, priority)).await
    }

    async fn edit(&self, id: TaskId, edit: &TaskEdit) -> Result<ControlReply> {
        let edit = edit.clone();
        self.writer.write(move |tx| ops::edit::edit(tx, id, &edit)).await
    }

    async fn count(&self, filter: &TaskFilter) -> Result<u64> {
        let filter = filter.clone();
        self.readers.read(move |read| ops::list::count(read, &filter)).await
    }

    async fn select(&self, filter: &TaskFilter, after: Option<TaskId>, limit: usize) -> Result<Vec<TaskId>> {
        let filter = filter.clone();
        self.readers.read(move |read| ops::list::select(read, &filter, after, limit)).await
    }

    async fn purge(&self, ids: &[TaskId]) -> Result<usize> {
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::prune::purge(tx, &ids)).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.readers.read(ops::status::queues).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        let queue = queue.to_owned();
        self.writer.write(move |tx| ops::queue::set_paused(tx, &queue, paused)).await
    }

    async fn set_limit(&self, queue: &str, running_max: Option<u32>) -> Result<()> {
        let queue = queue.to_owned();
        self.writer.write(move |tx| ops::queue::set_limit(tx, &queue, running_max)).await
    }

    async fn set_rate(&self, queue: &str, rate: Option<Rate>) -> Result<()> {
        let queue = queue.to_owned();
        self.writer.write(move |tx| ops::queue::set_rate(tx, &queue, rate)).await
    }

    async fn set_ageing(&self, queue: &str, every: Option<Duration>) -> Result<()> {
        let name = queue.to_owned();
        self.writer.write(move |tx| ops::ageing::set(tx, &name, every)).await?;
        let mut after = Some(ops::ageing::START);
        while let Some(place) = after.filter(|_| every.is_some()) {
            let name = queue.to_owned();
            after = self.writer.write(move |tx| ops::ageing::stamp(tx, &name, place)).await?;
        }
        if every.is_none() {
            loop {
                let name = queue.to_owned();
                let more = self.writer.write(move |tx| ops::ageing::unstamp(tx, &name)).await?;
                while self.age().await?.more {}
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn set_apart(&self, queues: &[String]) -> Result<StepReport> {
        let queues = queues.to_owned();
        self.writer.write(move |tx| ops::queue::set_apart(tx, &queues)).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.readers.read(ops::status::status).await
    }

    async fn check_writes(&self) -> Result<()> {
        self.writer.chore(|writer| writer.file_context.check_space()).await?;
        // Fails while another program holds a lock on the file.
        self.writer.write(|_| Ok(())).await
    }

    async fn schedule_put(&self, schedule: &NewSchedule, on_conflict: OnConflict) -> Result<SchedulePut> {
        let schedule = schedule.clone();
        self.writer.write(move |tx| ops::schedule::put(tx, &schedule, on_conflict)).await
    }

    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<DueSchedule>> {
        let after = after.unwrap_or_default().to_owned();
        self.readers.read(move |read| ops::schedule::page(read, &after, limit)).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<DueSchedule>> {
        let name = name.to_owned();
        self.readers.read(move |read| ops::schedule::find(read, &name)).await
    }

    async fn schedule_remove(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.writer.write(move |tx| ops::schedule::remove(tx, &name)).await
    }

    async fn schedule_set_paused(&self, name: &str, paused: bool) -> Result<bool> {
        let name = name.to_owned();
        self.writer.write(move |tx| ops::schedule::set_paused(tx, &name, paused)).await
    }

    async fn schedule_runs(&self, name: &str, before: Option<i64>, limit: usize) -> Result<Vec<ScheduleRun>> {
        let name = name.to_owned();
        self.readers.read(move |read| ops::schedule::runs(read, &name, before, limit)).await
    }

    async fn schedule_look(&self, limit: usize) -> Result<ScheduleLook> {
        self.readers.read(move |read| ops::schedule::look(read, limit)).await
    }

    async fn schedule_tick(&self, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>> {
        let ticks = ticks.to_vec();
        self.writer.write(move |tx| ops::schedule::tick(tx, &ticks)).await
    }

    async fn server_enter(&self, server: &NewServer) -> Result<()> {
        let server = server.clone();
        self.writer.write(move |tx| ops::server::enter(tx, &server)).await
    }

    async fn server_beat(&self, beat: &Beat) -> Result<BeatReply> {
        let beat = *beat;
        self.writer.write(move |tx| ops::server::beat(tx, &beat)).await
    }

    async fn server_serves(&self, server: ServerId, serves: &Serves) -> Result<()> {
        let serves = serves.clone();
        self.writer.write(move |tx| ops::kind::serve(tx, server, &serves)).await
    }

    async fn has_refused(&self, server: ServerId, runtime: Runtime, kind: &str) -> Result<bool> {
        let kind = kind.to_owned();
        self.readers.read(move |read| ops::kind::has_refused(read, server, runtime, &kind)).await
    }

    async fn server_leave(&self, server: ServerId) -> Result<()> {
        self.writer.write(move |tx| ops::server::leave(tx, server)).await
    }

    async fn servers(&self) -> Result<Vec<ServerRecord>> {
        self.readers.read(ops::server::list).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply> {
        let request = request.clone();
        self.writer.write(move |tx| ops::claim::claim(tx, &request)).await
    }

    async fn claimed(&self, _server: ServerId, claim: ClaimId) -> Result<Vec<Claimed>> {
        // Run by the writer, so that a claim that is still on its way is executed first.
        self.writer.write(move |tx| ops::claim::claimed(tx, claim)).await
    }

    async fn claims_held(&self, server: ServerId, claims: &[ClaimId], after: Option<ClaimId>) -> Result<ClaimsHeld> {
        let claims = claims.to_vec();
        self.readers.read(move |read| ops::held::held(read, server, &claims, after)).await
    }

    async fn finish(&self, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>> {
        let (batch, closed) = (batch.to_vec(), closed.to_vec());
        self.writer.write(move |tx| ops::finish::finish(tx, &batch, &closed)).await
    }

    async fn end_set_aside(&self, finish: &Finish, reason: &str) -> Result<WriteReply> {
        let (finish, reason) = (finish.clone(), reason.to_owned());
        self.writer.write(move |tx| ops::ends::set_aside(tx, &finish, &reason)).await
    }

    async fn ends_aside(&self, tasks: Option<&[TaskId]>, after: Option<TaskId>, limit: usize) -> Result<Vec<EndAside>> {
        let tasks = tasks.map(<[TaskId]>::to_vec);
        self.readers.read(move |read| ops::ends::list(read, tasks.as_deref(), after, limit)).await
    }

    async fn end_aside_settled(&self, task: TaskId, token: Token) -> Result<()> {
        self.writer.write(move |tx| ops::ends::settled(tx, task, token)).await
    }

    async fn server_holds(&self, server: ServerId, ends: u32, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(str::to_owned);
        self.writer.write(move |tx| ops::ends::holds(tx, server, ends, reason.as_deref())).await
    }

    async fn record(&self, batch: &[Record]) -> Result<Vec<WriteReply>> {
        let batch = batch.to_vec();
        self.writer.write(move |tx| ops::record::record(tx, &batch)).await
    }

    async fn promote(&self) -> Result<PromoteReport> {
        self.writer.write(ops::promote::promote).await
    }

    async fn beats(&self) -> Result<Vec<BeatSeen>> {
        self.readers.read(ops::server::beats).await
    }

    async fn rescue(&self, server: ServerId, beat: i64, overdue: bool) -> Result<StepReport> {
        self.writer.write(move |tx| ops::rescue::rescue(tx, server, beat, overdue)).await
    }

    async fn cascade(&self) -> Result<StepReport> {
        self.writer.write(ops::cascade::step).await
    }

    async fn settle(&self) -> Result<StepReport> {
        // Only this library writes the file, so no task is ever added inside a caller's transaction.
        Ok(StepReport::default())
    }

    async fn parked(&self, runtime: Runtime) -> Result<Vec<ParkedReason>> {
        self.readers.read(move |read| ops::parked::reasons(read, runtime)).await
    }

    async fn unpark(&self, runtime: Runtime, reason: &str) -> Result<StepReport> {
        let reason = reason.to_owned();
        self.writer.write(move |tx| ops::parked::release(tx, runtime, &reason)).await
    }

    async fn dead_take(&self, request: &DeadTake) -> Result<Vec<TaskId>> {
        // Avoids a write transaction while there is nothing to take.
        let (request, wanted) = (request.clone(), request.clone());
        if self.readers.read(move |read| ops::dead::any(read, &request)).await? {
            self.writer.write(move |tx| ops::dead::take(tx, &wanted)).await
        } else {
            Ok(Vec::new())
        }
    }

    async fn dead_told(&self, server: ServerId, ids: &[TaskId], told: bool) -> Result<usize> {
        let ids = ids.to_vec();
        self.writer.write(move |tx| ops::dead::told(tx, server, &ids, told)).await
    }

    async fn prune(&self, retention: &Retention) -> Result<StepReport> {
        let retention = *retention;
        self.writer.write(move |tx| ops::prune::prune(tx, &retention)).await
    }

    async fn prune_surplus(&self, retention: &Retention) -> Result<StepReport> {
        let retention = *retention;
        if retention.done_count == 0 && retention.failed_count == 0 {
            return Ok(StepReport::default());
        }
        self.writer.write(move |tx| ops::prune::prune_surplus(tx, &retention)).await
    }

    async fn ranges_suspect(&self) -> Result<bool> {
        // Not a sample: two counts cover all tasks.
        self.readers.read(|read| Ok(ops::ranges::excess(read.connection)? > 0)).await
    }

    async fn compare_ranges(&self, after: Option<TaskId>, limit: usize, repair: bool) -> Result<RangeReport> {
        let walk = Arc::clone(&self.walk);
        let compare = move |tx: &mut Tx<'_>| {
            let mut walk = walk.lock().unwrap_or_else(PoisonError::into_inner);
            ops::ranges::compare(tx, after, limit, repair, &mut walk)
        };
        self.writer.write(compare).await
    }

    async fn regroup(&self) -> Result<RegroupReport> {
        // Avoids a write transaction while no server has reported its builds.
        if self.readers.read(ops::kind::any).await? {
            self.writer.write(ops::kind::regroup).await
        } else {
            Ok(RegroupReport::default())
        }
    }

    async fn age(&self) -> Result<AgeReport> {
        // Avoids a write transaction while nothing is due.
        let (due, next_due) = self.readers.read(ops::ageing::next_due).await?;
        if due { self.writer.write(ops::ageing::age).await } else { Ok(AgeReport { next_due, ..AgeReport::default() }) }
    }

    async fn query(&self, sql: &str, limit: usize) -> Result<Rows> {
        crate::rows::rows(self, sql, limit).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
