//! [`PostgresStore`]: implements the `Store` trait; each method delegates to the module of its subject.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use taskyard_core::notifications::Notifications;
use taskyard_core::schedule::{DueSchedule, NewSchedule, OnConflict, ScheduleLook, ScheduleRun, Tick};
use taskyard_core::state::Runtime;
use taskyard_core::store::{
    AddRequest, Added, AgeReport, Beat, BeatReply, BeatSeen, ClaimReply, ClaimRequest, Claimed, ClaimsHeld,
    ControlReply, DeadTake, EndAside, Final, Finish, MigrationReport, NewServer, ParentResult, ParkedReason,
    PromoteReport, QueueStatus, RangeReport, Record, RegroupReport, Retention, SchedulePut, SchemaStatus, ServerRecord,
    Serves, SnapshotRequest, StepReport, Store, StoreStatus, TaskEdit, TaskFilter, TaskSnapshot, TestClock, WriteReply,
};
use taskyard_core::task::{Attempt, StoredLogLine, TaskRecord};
use taskyard_core::{AdditionId, ClaimId, Error, Rate, Result, ServerId, TaskId, Timestamp, Token};
use tokio_postgres::types::Type;

use crate::address::Address;
use crate::inner::Inner;
use crate::options::Options;
use crate::pool::Role;
use crate::row::get;
use crate::{
    add, ageing, claim, control, ends, finish, isolation, migrate, notify, reads, schedules, servers, snapshots, upkeep,
};

/// The store on PostgreSQL, created by [`PostgresStore::connect`] and shared as `Arc<dyn Store>`.
#[derive(Debug)]
pub struct PostgresStore {
    pub(crate) inner: Arc<Inner>,
}

impl PostgresStore {
    /// Connects to a database. The schema is not touched, see [`Store::migrate`].
    ///
    /// # Errors
    /// Each message is one sentence without the password.
    /// - `Error::InvalidUrl` if the address or `listen_url` cannot be parsed.
    /// - `Error::Setting` if `notify_channel` is not 1 to 63 letters, digits and underscores.
    /// - `Error::Connection` if the server cannot be reached or is a read-only standby.
    /// - `Error::Refused` if the server refuses the login or the database's encoding is not UTF-8.
    /// - `Error::File` if the file of `sslrootcert` cannot be read.
    pub async fn connect(url: &str, options: Options) -> Result<Arc<Self>> {
        let address = Address::parse(url, options.connect_timeout)?;
        let listen_address = match &options.listen_url {
            Some(url) => Address::parse(url, options.connect_timeout)?,
            None => address.clone(),
        };
        let channel = options.notify_channel.as_bytes();
        if channel.is_empty()
            || channel.len() > 63
            || !channel.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            return Err(Error::Setting {
                name: "notify_channel".into(),
                why: "a channel's name has 1 to 63 letters, digits and underscores".into(),
            });
        }
        let mut inner = Inner::new(address, listen_address, options);
        // The first statement runs here, so that a wrong address is reported now and not at the first use.
        let rows = inner
            .pool
            .query_idempotent(
                Role::Client,
                "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('synchronous_commit'), \
                 pg_catalog.current_setting('server_encoding'), \
                 pg_catalog.current_setting('default_transaction_isolation'), \
                 pg_catalog.current_setting('default_transaction_read_only')",
                &[],
            )
            .await?;
        if let Some(row) = rows.first() {
            if get::<bool>(row, 0)? {
                return Err(Error::Connection(format!(
                    "{}: the server is a read-only standby",
                    inner.pool.address().shown
                )));
            }
            let encoding: String = get(row, 2)?;
            if encoding != "UTF8" {
                return Err(Error::Refused(format!(
                    "{}: its encoding is {encoding}, which cannot store every text; Taskyard needs a database in UTF8 \
                     (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)",
                    inner.pool.address().shown
                )));
            }
            if get::<String>(row, 1)? == "off" {
                tracing::warn!(
                    "synchronous_commit is off: the last additions before a crash of the server may be lost"
                );
            }
            if get::<String>(row, 4)? == "on" {
                inner.pool.address().reads_by_default.store(true, Ordering::Relaxed);
            }
            let isolation: String = get(row, 3)?;
            if isolation != isolation::READ_COMMITTED {
                inner = isolation::reading_committed(inner, &isolation).await;
            }
        }
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn backend(&self) -> &'static str {
        "postgresql"
    }

    fn address(&self) -> String {
        self.inner.pool.address().shown.clone()
    }

    fn notifications(&self) -> &Notifications {
        &self.inner.notifications
    }

    fn hears_others(&self) -> bool {
        self.inner.hears.load(Ordering::Acquire)
    }

    async fn migrate(&self) -> Result<MigrationReport> {
        self.inner.pool.check_open()?;
        migrate::run(&self.inner).await
    }

    async fn schema(&self) -> Result<SchemaStatus> {
        migrate::status(&self.inner).await
    }

    async fn now(&self) -> Result<Timestamp> {
        let rows = self.inner.pool.query_idempotent(Role::Client, "SELECT taskyard.now()", &[]).await?;
        rows.first().map_or_else(|| Err(Error::Database("reading the clock returned no row".into())), |row| get(row, 0))
    }

    async fn set_clock(&self, clock: TestClock) -> Result<()> {
        let (offset, frozen) = match clock {
            TestClock::Real => (0, None),
            TestClock::Offset(offset) => (offset, None),
            TestClock::Frozen(at) => (0, Some(at)),
        };
        let params = [(&offset as _, Type::INT8), (&frozen as _, Type::TIMESTAMPTZ)];
        self.inner.pool.query_idempotent(Role::Client, "SELECT taskyard.clock_set($1, $2)", &params).await?;
        // Tasks that sleep until a time of this clock must read it again.
        self.notify_others();
        self.inner.notify_work();
        schedules::notify(&self.inner).await;
        Ok(())
    }

    async fn add_batch(&self, request: AddRequest<'_>) -> Result<Vec<Added>> {
        self.add_batch_within(request, add::LOCK_WAIT).await
    }

    async fn add_batch_within(&self, request: AddRequest<'_>, lock_wait: Duration) -> Result<Vec<Added>> {
        self.notify_others();
        add::add(&self.inner, request, lock_wait).await
    }

    async fn added(&self, addition: AdditionId, ids: &[TaskId]) -> Result<Vec<bool>> {
        add::added(&self.inner, addition, ids).await
    }

    async fn get(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        reads::get_all(&self.inner, ids).await
    }

    async fn present(&self, ids: &[TaskId]) -> Result<Vec<bool>> {
        reads::present(&self.inner, ids).await
    }

    async fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        reads::list(&self.inner, filter).await
    }

    async fn finals(&self, ids: &[TaskId]) -> Result<Vec<Final>> {
        self.listen();
        reads::finals(&self.inner, ids).await
    }

    async fn attempts(&self, id: TaskId) -> Result<Vec<Attempt>> {
        reads::attempts(&self.inner, id).await
    }

    async fn context(&self, id: TaskId) -> Result<Option<Vec<u8>>> {
        reads::context(&self.inner, id).await
    }

    async fn logs(&self, id: TaskId, after: i64, limit: usize) -> Result<Vec<StoredLogLine>> {
        reads::logs(&self.inner, id, after, limit).await
    }

    async fn parent_results(&self, id: TaskId) -> Result<Vec<ParentResult>> {
        reads::parent_results(&self.inner, id).await
    }

    async fn parent_sizes(&self, id: TaskId) -> Result<Vec<(TaskId, usize)>> {
        reads::parent_sizes(&self.inner, id).await
    }

    async fn children(&self, id: TaskId, limit: usize) -> Result<Vec<TaskId>> {
        reads::children(&self.inner, id, limit).await
    }

    async fn snapshots(&self, asked: &[SnapshotRequest]) -> Result<Vec<Option<TaskSnapshot>>> {
        self.listen();
        snapshots::snapshots(&self.inner, asked).await
    }

    async fn cancel_because(&self, ids: &[TaskId], reason: Option<&str>) -> Result<Vec<ControlReply>> {
        self.notify_others();
        control::cancel(&self.inner, ids, reason).await
    }

    async fn stop(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.notify_others();
        control::stop(&self.inner, ids).await
    }

    async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.notify_others();
        control::retry(&self.inner, ids).await
    }

    async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>> {
        self.notify_others();
        control::set_priority(&self.inner, ids, priority).await
    }

    async fn edit(&self, id: TaskId, edit: &TaskEdit) -> Result<ControlReply> {
        control::edit(&self.inner, id, edit).await
    }

    async fn count(&self, filter: &TaskFilter) -> Result<u64> {
        reads::count_all(&self.inner, filter).await
    }

    async fn select(&self, filter: &TaskFilter, after: Option<TaskId>, limit: usize) -> Result<Vec<TaskId>> {
        reads::select(&self.inner, filter, after, limit).await
    }

    async fn purge(&self, ids: &[TaskId]) -> Result<usize> {
        control::purge(&self.inner, ids).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>> {
        reads::queues(&self.inner).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        self.notify_others();
        control::set_paused(&self.inner, queue, paused).await
    }

    async fn set_limit(&self, queue: &str, running_max: Option<u32>) -> Result<()> {
        self.notify_others();
        control::set_limit(&self.inner, queue, running_max).await
    }

    async fn set_rate(&self, queue: &str, rate: Option<Rate>) -> Result<()> {
        self.notify_others();
        control::set_rate(&self.inner, queue, rate).await
    }

    async fn set_ageing(&self, queue: &str, every: Option<Duration>) -> Result<()> {
        self.notify_others();
        ageing::set(&self.inner, queue, every).await
    }

    async fn set_apart(&self, queues: &[String]) -> Result<StepReport> {
        control::set_apart(&self.inner, queues).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        reads::status(&self.inner).await
    }

    async fn check_writes(&self) -> Result<()> {
        add::check(&self.inner).await
    }

    async fn schedule_put(&self, schedule: &NewSchedule, on_conflict: OnConflict) -> Result<SchedulePut> {
        schedules::put(&self.inner, schedule, on_conflict).await
    }

    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<DueSchedule>> {
        schedules::page(&self.inner, after, limit).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<DueSchedule>> {
        schedules::find(&self.inner, name).await
    }

    async fn schedule_remove(&self, name: &str) -> Result<bool> {
        schedules::remove(&self.inner, name).await
    }

    async fn schedule_set_paused(&self, name: &str, paused: bool) -> Result<bool> {
        schedules::set_paused(&self.inner, name, paused).await
    }

    async fn schedule_runs(&self, name: &str, before: Option<i64>, limit: usize) -> Result<Vec<ScheduleRun>> {
        schedules::runs(&self.inner, name, before, limit).await
    }

    async fn schedule_look(&self, limit: usize) -> Result<ScheduleLook> {
        self.listen_for_work();
        schedules::look(&self.inner, limit).await
    }

    async fn schedule_tick(&self, ticks: &[Tick]) -> Result<Vec<Option<Vec<TaskId>>>> {
        self.notify_others();
        schedules::tick(&self.inner, ticks).await
    }

    async fn server_enter(&self, server: &NewServer) -> Result<()> {
        servers::check_capacity(&self.inner).await?;
        servers::enter(&self.inner, server).await
    }

    async fn server_beat(&self, beat: &Beat) -> Result<BeatReply> {
        servers::beat(&self.inner, beat).await
    }

    async fn server_serves(&self, server: ServerId, serves: &Serves) -> Result<()> {
        servers::serve(&self.inner, server, serves).await
    }

    async fn has_refused(&self, server: ServerId, runtime: Runtime, kind: &str) -> Result<bool> {
        servers::has_refused(&self.inner, server, runtime, kind).await
    }

    async fn server_leave(&self, server: ServerId) -> Result<()> {
        servers::leave(&self.inner, server).await
    }

    async fn servers(&self) -> Result<Vec<ServerRecord>> {
        servers::list(&self.inner).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply> {
        self.listen_for_work();
        claim::claim(&self.inner, request).await
    }

    async fn claimed(&self, server: ServerId, claim: ClaimId) -> Result<Vec<Claimed>> {
        claim::claimed(&self.inner, server, claim).await
    }

    async fn claims_held(&self, server: ServerId, claims: &[ClaimId], after: Option<ClaimId>) -> Result<ClaimsHeld> {
        claim::held(&self.inner, server, claims, after).await
    }

    async fn finish(&self, batch: &[Finish], closed: &[ClaimId]) -> Result<Vec<WriteReply>> {
        self.notify_others();
        finish::finish(&self.inner, batch, closed).await
    }

    async fn end_set_aside(&self, finish: &Finish, reason: &str) -> Result<WriteReply> {
        ends::set_aside(&self.inner, finish, reason).await
    }

    async fn ends_aside(&self, tasks: Option<&[TaskId]>, after: Option<TaskId>, limit: usize) -> Result<Vec<EndAside>> {
        ends::list(&self.inner, tasks, after, limit).await
    }

    async fn end_aside_settled(&self, task: TaskId, token: Token) -> Result<()> {
        ends::settled(&self.inner, task, token).await
    }

    async fn server_holds(&self, server: ServerId, held: u32, reason: Option<&str>) -> Result<()> {
        ends::holds(&self.inner, server, held, reason).await
    }

    async fn record(&self, batch: &[Record]) -> Result<Vec<WriteReply>> {
        finish::record(&self.inner, batch).await
    }

    async fn promote(&self) -> Result<PromoteReport> {
        self.notify_others();
        upkeep::promote(&self.inner).await
    }

    async fn beats(&self) -> Result<Vec<BeatSeen>> {
        servers::beats(&self.inner).await
    }

    async fn rescue(&self, server: ServerId, beat: i64, overdue: bool) -> Result<StepReport> {
        self.notify_others();
        upkeep::rescue(&self.inner, server, beat, overdue).await
    }

    async fn cascade(&self) -> Result<StepReport> {
        self.notify_others();
        upkeep::cascade(&self.inner).await
    }

    async fn settle(&self) -> Result<StepReport> {
        self.notify_others();
        upkeep::settle(&self.inner).await
    }

    async fn parked(&self, runtime: Runtime) -> Result<Vec<ParkedReason>> {
        upkeep::parked(&self.inner, runtime).await
    }

    async fn unpark(&self, runtime: Runtime, reason: &str) -> Result<StepReport> {
        self.notify_others();
        upkeep::unpark(&self.inner, runtime, reason).await
    }

    async fn prune(&self, retention: &Retention) -> Result<StepReport> {
        upkeep::prune(&self.inner, retention).await
    }

    async fn dead_take(&self, request: &DeadTake) -> Result<Vec<TaskId>> {
        upkeep::dead_take(&self.inner, request).await
    }

    async fn dead_told(&self, server: ServerId, ids: &[TaskId], told: bool) -> Result<usize> {
        upkeep::dead_told(&self.inner, server, ids, told).await
    }

    async fn prune_surplus(&self, retention: &Retention) -> Result<StepReport> {
        upkeep::prune_surplus(&self.inner, retention).await
    }

    async fn ranges_suspect(&self) -> Result<bool> {
        upkeep::ranges_suspect(&self.inner).await
    }

    async fn compare_ranges(&self, after: Option<TaskId>, limit: usize, repair: bool) -> Result<RangeReport> {
        upkeep::compare_ranges(&self.inner, after, limit, repair).await
    }

    async fn regroup(&self) -> Result<RegroupReport> {
        upkeep::regroup(&self.inner).await
    }

    async fn age(&self) -> Result<AgeReport> {
        ageing::age(&self.inner).await
    }

    async fn query(&self, sql: &str, limit: usize) -> Result<taskyard_core::store::Rows> {
        crate::rows::rows(&self.inner, sql, limit).await
    }

    fn enqueue_statement(&self, task: &taskyard_core::NewTask) -> Result<taskyard_core::Statement> {
        crate::embed::enqueue_statement(task)
    }

    async fn close(&self) {
        if self.inner.options.notify && !self.inner.pool.is_closed() {
            notify::flush(&self.inner).await;
        }
        self.inner.stop_background();
        self.inner.pool.close().await;
        // Wakes all waiters: their next call reports that the store is closed.
        self.inner.notify_all();
    }

    fn detached(&self) -> Option<Arc<dyn Store>> {
        if self.inner.pool.is_closed() {
            return None;
        }
        let options = Options { pool_size: 1, ..self.inner.options.clone() };
        let inner = Inner::new(self.inner.pool.address().clone(), self.inner.listen_address.clone(), options);
        Some(Arc::new(Self { inner: Arc::new(inner) }))
    }
}
