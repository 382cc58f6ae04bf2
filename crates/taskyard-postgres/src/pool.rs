//! The few connections for work, opened on first use.
//!
//! Each has a role, so that a long step of upkeep never delays a heartbeat: claims and upkeep share one, heartbeats and
//! everything that a running attempt writes another, additions and questions a third. Statements of one connection are
//! pipelined; a transaction of several round trips has it alone while it lasts.
//!
//! What must hold: every call ends within its deadline. A call whose outcome is unknown is a `Connection` error, and its
//! connection is dropped. Only unnamed statements are used and no session state is left, so that a pooler in
//! transaction mode may stand in between.

mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskyard_core::{Error, Result};
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

pub(crate) use self::transaction::{Interrupted, Transaction, rerunning};
use crate::address::Address;
use crate::{connect, failure};

/// A statement's parameters with their types.
pub(crate) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Adding and asking; all that a process needs that only adds.
    Ask,
    /// Heartbeats, the ends of attempts, context and logs.
    Attempt,
    /// Claims and upkeep.
    Claim,
}

impl Role {
    const fn index(self) -> usize {
        self as usize
    }

    const fn deadline(self) -> Duration {
        // A heartbeat waits in this line: what hangs must be known before the lease is over.
        match self {
            Self::Attempt => Duration::from_secs(10),
            Self::Ask | Self::Claim => Duration::from_secs(30),
        }
    }
}

/// How often a statement is run again after a deadlock or a serialization failure.
const RERUNS_MAX: u32 = 8;
const BACKOFF_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    answer_max: Duration,
    slots: Vec<Slot>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    /// Shared by pipelined statements, taken alone by a transaction.
    turn: RwLock<()>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    client: Option<Arc<Client>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("open", &self.client.is_some()).field("failures", &self.failures).finish()
    }
}

impl Slot {
    /// The connection, made if there is none. After a failure the next attempt waits, with jitter: a server that comes
    /// back is not met by everybody at once.
    async fn client(&self, address: &Address) -> Result<Arc<Client>> {
        let mut link = self.link.lock().await;
        if let Some(client) = link.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        link.client = None;
        if let Some(not_before) = link.not_before {
            sleep_until(not_before).await;
        }
        match connect::open(address).await {
            Ok(client) => {
                let client = Arc::new(client);
                link.client = Some(Arc::clone(&client));
                link.failures = 0;
                link.not_before = None;
                Ok(client)
            }
            Err(error) => {
                link.failures = link.failures.saturating_add(1);
                link.not_before = Some(Instant::now() + backoff(link.failures));
                Err(error)
            }
        }
    }

    /// Forgets this connection; it closes when the last call on it has ended.
    async fn forget(&self, client: &Arc<Client>) {
        let mut link = self.link.lock().await;
        if link.client.as_ref().is_some_and(|known| Arc::ptr_eq(known, client)) {
            link.client = None;
        }
    }
}

pub(crate) fn backoff(failures: u32) -> Duration {
    let longest = (Duration::from_millis(50) * 2_u32.saturating_pow(failures.min(10))).min(BACKOFF_MAX);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

async fn rerun_pause(rerun: u32) {
    sleep(Duration::from_millis(2_u64.pow(rerun.min(6))).mul_f64(rand::random_range(0.5..1.5))).await;
}

/// The answer to a statement. What is sent behind it is run by the server as soon as it is through: no round trip, and no
/// task here that would have to wake up first.
async fn answer(
    client: &Client,
    sql: &str,
    params: Params<'_>,
    behind: Option<(&str, Params<'_>)>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let Some((next, next_params)) = behind else { return client.query_typed(sql, params).await };
    tokio::select! {
        biased;
        answer = client.query_typed(sql, params) => answer,
        never = async {
            let _ = client.query_typed(next, next_params).await;
            std::future::pending().await
        } => never,
    }
}

impl Pool {
    pub fn new(address: Address, size: usize, answer_max: Duration) -> Self {
        Self {
            address,
            answer_max,
            slots: (0..size.clamp(1, 3)).map(|_| Slot::default()).collect(),
            closed: AtomicBool::new(false),
        }
    }

    fn deadline(&self, role: Role) -> Duration {
        role.deadline().min(self.answer_max)
    }

    fn slot(&self, role: Role) -> &Slot {
        &self.slots[role.index().min(self.slots.len() - 1)]
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::ShutDown("the store")) } else { Ok(()) }
    }

    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for slot in &self.slots {
            slot.link.lock().await.client = None;
        }
    }

    /// Runs one statement.
    pub async fn query(&self, role: Role, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.query_within(role, self.deadline(role), false, sql, params).await
    }

    /// Runs one statement, and sends another one right behind it whose outcome nobody needs.
    pub async fn query_and_send(
        &self,
        role: Role,
        sql: &str,
        params: Params<'_>,
        behind: (&str, Params<'_>),
    ) -> Result<Vec<Row>> {
        self.run(role, self.deadline(role), false, sql, params, Some(behind)).await
    }

    /// Runs one statement that may be run twice without harm: a connection that turns out to be gone is replaced.
    pub async fn ask(&self, role: Role, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.query_within(role, self.deadline(role), true, sql, params).await
    }

    /// As [`Self::query`], with a deadline of its own.
    pub async fn query_within(
        &self,
        role: Role,
        deadline: Duration,
        harmless: bool,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.run(role, deadline, harmless, sql, params, None).await
    }

    async fn run(
        &self,
        role: Role,
        deadline: Duration,
        harmless: bool,
        sql: &str,
        params: Params<'_>,
        behind: Option<(&str, Params<'_>)>,
    ) -> Result<Vec<Row>> {
        let deadline = Instant::now() + deadline;
        let slot = self.slot(role);
        let mut reruns = 0;
        loop {
            self.check_open()?;
            let late = || Error::Connection(format!("{}: no answer in time", self.address.shown));
            let Ok(_turn) = timeout_at(deadline, slot.turn.read()).await else { return Err(late()) };
            let Ok(client) = timeout_at(deadline, slot.client(&self.address)).await else { return Err(late()) };
            let client = client?;
            match timeout_at(deadline, answer(&client, sql, params, behind)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if failure::may_rerun(&error) && reruns < RERUNS_MAX => {
                    reruns += 1;
                    rerun_pause(reruns).await;
                }
                Ok(Err(error)) if failure::wants_another(&error) => {
                    slot.forget(&client).await;
                    if !harmless || reruns >= 1 {
                        return Err(failure::of_statement(&error));
                    }
                    reruns += 1;
                }
                Ok(Err(error)) => return Err(failure::of_statement(&error)),
                Err(_) => {
                    slot.forget(&client).await;
                    return Err(late());
                }
            }
        }
    }

    /// Begins a transaction that has its connection alone.
    pub async fn begin(&self, role: Role) -> Result<Transaction<'_>> {
        self.check_open()?;
        let deadline = Instant::now() + self.deadline(role);
        let late = || Error::Connection(format!("{}: no answer in time", self.address.shown));
        let slot = self.slot(role);
        for last in [false, true] {
            let Ok(turn) = timeout_at(deadline, slot.turn.write()).await else { return Err(late()) };
            let Ok(client) = timeout_at(deadline, slot.client(&self.address)).await else { return Err(late()) };
            let client = client?;
            let transaction =
                Transaction { slot, client, deadline, _turn: turn, ended: false, shown: &self.address.shown };
            match timeout_at(deadline, transaction.client.batch_execute("BEGIN")).await {
                Ok(Ok(())) => return Ok(transaction),
                // An idle connection that had been ended: nothing was done on it.
                Ok(Err(error)) if failure::wants_another(&error) && !last => {
                    slot.forget(&transaction.client).await;
                }
                Ok(Err(error)) => return Err(failure::of_statement(&error)),
                Err(_) => return Err(late()),
            }
        }
        Err(late())
    }
}
