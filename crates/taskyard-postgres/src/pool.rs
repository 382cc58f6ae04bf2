//! The few connections for work, opened on first use.
//!
//! Each connection has a role, so that a long step of upkeep never delays the end of an attempt: claims and upkeep
//! share one, all writes of running attempts use another, additions and queries a third. Heartbeats have a connection
//! that nothing else uses. Statements on one connection are pipelined; a transaction of several round trips holds its
//! connection exclusively while it lasts.
//!
//! Invariants:
//! - Every call ends within its deadline.
//! - A call whose outcome is unknown returns `Error::Connection`; its statement is cancelled and its connection is
//!   dropped, also if the call's future was dropped before (`watch.rs`).
//! - No session state is left, so that a pooler in transaction mode may stand in between: time limits are set for one
//!   transaction, in the message that begins it or by the statement itself, and named statements are used on direct
//!   connections only (`connection.rs`).

mod capacity;
mod connection;
mod transaction;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskyard_core::backoff::{CONNECT, RERUN};
use taskyard_core::{Error, Result};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

pub(crate) use self::connection::{Connection, Sql};
pub(crate) use self::transaction::{Interrupted, Transaction, rerunning};
use self::watch::Watch;
use crate::address::Address;
use crate::{connect, failure};

/// Parameters of a statement with their types.
pub(crate) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// Purpose of a call, which selects its connection and its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Additions and queries: the only role that a process which does not run tasks needs.
    Client,
    /// Ends of attempts, context and logs.
    Attempt,
    /// Claims and upkeep.
    Claim,
    /// Heartbeats.
    Beat,
}

impl Role {
    /// Returns the default deadline. Shorter than every limit that a caller sets: a server's loops give a call up after
    /// 15 s or more.
    const fn deadline(self) -> Duration {
        match self {
            Self::Beat => Duration::from_secs(4),
            Self::Attempt | Self::Claim => Duration::from_secs(10),
            Self::Client => Duration::from_secs(30),
        }
    }
}

/// Maximum number of times a statement is run again after a deadlock or a serialization failure.
const RERUNS_MAX: u32 = 8;
/// The server ends a transaction whose client has been silent for this long: the client's host may have vanished.
const IDLE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Pool {
    address: Arc<Address>,
    answer_max: Duration,
    /// Connections for work, followed by the one for heartbeats.
    slots: Vec<Arc<Slot>>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held shared by pipelined statements, exclusively by a transaction.
    turn: RwLock<()>,
    client: Mutex<Option<Arc<Connection>>>,
    opening: tokio::sync::Mutex<Opening>,
}

/// Outcome of the last attempts to connect.
#[derive(Debug, Default)]
struct Opening {
    failures: u32,
    not_before: Option<Instant>,
}

impl Slot {
    fn current(&self) -> Option<Arc<Connection>> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().filter(|client| !client.is_closed()).cloned()
    }

    fn set(&self, client: Option<Arc<Connection>>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Returns the connection, opening one if there is none. After a failure the next attempt waits, with jitter, so
    /// that not all clients connect to a recovering server at the same time.
    async fn client(&self, address: &Address) -> Result<Arc<Connection>> {
        if let Some(client) = self.current() {
            return Ok(client);
        }
        let mut opening = self.opening.lock().await;
        if let Some(client) = self.current() {
            return Ok(client);
        }
        if let Some(not_before) = opening.not_before {
            sleep_until(not_before).await;
        }
        match connect::open(address).await {
            Ok(client) => {
                let client = Arc::new(Connection::new(client));
                self.set(Some(Arc::clone(&client)));
                *opening = Opening::default();
                Ok(client)
            }
            Err(error) => {
                opening.not_before = Some(Instant::now() + CONNECT.draw(opening.failures));
                opening.failures = opening.failures.saturating_add(1);
                Err(error)
            }
        }
    }

    /// Removes this connection from the slot; it closes when the last call on it has ended.
    fn forget(&self, client: &Arc<Connection>) {
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, client)) {
            *known = None;
        }
    }
}

/// Runs a statement and returns its rows. The statement `behind` is sent with it and run by the server right after it,
/// which costs no further round trip and wakes no other task here.
async fn answer(
    client: &Connection,
    sql: Sql<'_>,
    params: Params<'_>,
    behind: Option<(Sql<'_>, Params<'_>)>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    loop {
        // Both are prepared before either is sent, or the second might overtake the first.
        let statement = client.statement(sql, params).await;
        let next = match behind {
            Some((next, next_params)) => Some((client.statement(next, next_params).await, next, next_params)),
            None => None,
        };
        let first = client.run(statement.as_ref(), sql, params);
        let answer = match &next {
            None => first.await,
            Some((next_statement, next, next_params)) => tokio::select! {
                biased;
                answer = first => answer,
                never = async {
                    let _ = client.run(next_statement.as_ref(), *next, next_params).await;
                    std::future::pending().await
                } => never,
            },
        };
        match answer {
            Err(error) if statement.is_some() && client.refuses(sql, &error) => {}
            answer => return answer,
        }
    }
}

impl Pool {
    pub fn new(address: Address, size: usize, answer_max: Duration) -> Self {
        Self {
            address: Arc::new(address),
            answer_max,
            slots: (0..=size.clamp(1, 3)).map(|_| Arc::default()).collect(),
            closed: AtomicBool::new(false),
        }
    }

    fn deadline(&self, role: Role) -> Duration {
        role.deadline().min(self.answer_max)
    }

    fn slot(&self, role: Role) -> &Arc<Slot> {
        let last = self.slots.len() - 1;
        match role {
            Role::Beat => &self.slots[last],
            work => &self.slots[(work as usize).min(last - 1)],
        }
    }

    /// Returns whether there is a connection for this role now.
    pub fn is_open(&self, role: Role) -> bool {
        self.slot(role).current().is_some()
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::ShutDown("the store has been shut down")) } else { Ok(()) }
    }

    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for slot in &self.slots {
            // Waits for a connection that is being opened, so that it is closed, too.
            let _opening = slot.opening.lock().await;
            slot.set(None);
        }
    }

    fn late(&self) -> Error {
        Error::Connection(format!("{}: no answer in time", self.address.shown))
    }

    /// Runs one statement.
    pub async fn query(&self, role: Role, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.query_within(role, self.deadline(role), false, sql, params).await
    }

    /// Runs the call of a function that every task costs.
    pub async fn query_frequent(&self, role: Role, sql: &'static str, params: Params<'_>) -> Result<Vec<Row>> {
        self.run(role, self.deadline(role), false, Sql::Frequent(sql), params, None).await
    }

    /// Runs one frequent statement, and sends another right behind it whose outcome is ignored.
    pub async fn query_and_send(
        &self,
        role: Role,
        sql: &'static str,
        params: Params<'_>,
        behind: (&'static str, Params<'_>),
    ) -> Result<Vec<Row>> {
        self.run(
            role,
            self.deadline(role),
            false,
            Sql::Frequent(sql),
            params,
            Some((Sql::Frequent(behind.0), behind.1)),
        )
        .await
    }

    /// Runs one statement that may safely run twice: a connection that turns out to be lost is replaced and the
    /// statement repeated.
    pub async fn query_idempotent(&self, role: Role, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.query_within(role, self.deadline(role), true, sql, params).await
    }

    /// Like [`Self::query`], with a deadline of its own. `idempotent` allows a second run on a new connection.
    pub async fn query_within(
        &self,
        role: Role,
        deadline: Duration,
        idempotent: bool,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.run(role, deadline, idempotent, Sql::Once(sql), params, None).await
    }

    async fn run(
        &self,
        role: Role,
        deadline: Duration,
        idempotent: bool,
        sql: Sql<'_>,
        params: Params<'_>,
        behind: Option<(Sql<'_>, Params<'_>)>,
    ) -> Result<Vec<Row>> {
        let deadline = Instant::now() + deadline;
        let slot = self.slot(role);
        let mut reruns = 0;
        loop {
            self.check_open()?;
            let Ok(_turn) = timeout_at(deadline, slot.turn.read()).await else { return Err(self.late()) };
            let Ok(client) = timeout_at(deadline, slot.client(&self.address)).await else { return Err(self.late()) };
            let client = client?;
            let watch = Watch::new(&self.slots, slot, &client, &self.address, deadline);
            let Ok(answer) = timeout_at(deadline, answer(&client, sql, params, behind)).await else {
                return Err(self.late());
            };
            watch.answered();
            match answer {
                Ok(rows) => return Ok(rows),
                Err(error) if failure::may_rerun(&error) && reruns < RERUNS_MAX => {
                    sleep(RERUN.draw(reruns)).await;
                    reruns += 1;
                }
                Err(error) if failure::wants_another(&error) => {
                    slot.forget(&client);
                    if !idempotent || reruns >= 1 {
                        return Err(failure::of_statement_at(&error, &self.address));
                    }
                    reruns += 1;
                }
                Err(error) => return Err(failure::of_statement_at(&error, &self.address)),
            }
        }
    }

    /// Begins a transaction that holds its connection exclusively and in which each statement sees everything committed
    /// before it. Waits at most `lock_wait` for a lock; the server ends the transaction if its client falls silent.
    pub async fn begin(&self, role: Role, lock_wait: Duration) -> Result<Transaction<'_>> {
        self.check_open()?;
        let longest = self.deadline(role);
        let deadline = Instant::now() + longest;
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            lock_wait.as_millis().max(1),
            longest.as_millis().max(1),
            IDLE_MAX.as_millis()
        );
        let slot = self.slot(role);
        for last in [false, true] {
            let Ok(turn) = timeout_at(deadline, slot.turn.write()).await else { return Err(self.late()) };
            let Ok(client) = timeout_at(deadline, slot.client(&self.address)).await else { return Err(self.late()) };
            let client = client?;
            let transaction = Transaction {
                slot,
                client,
                address: &self.address,
                deadline,
                _turn: turn,
                ended: false,
                running: AtomicUsize::new(0),
            };
            match transaction.answer(transaction.client.batch_execute(&begin)).await {
                Ok(()) => return Ok(transaction),
                // The server had closed the idle connection: nothing was done on it.
                Err(interrupted) if interrupted.broken && !last => slot.forget(&transaction.client),
                Err(interrupted) => return Err(interrupted.error),
            }
        }
        Err(self.late())
    }
}
