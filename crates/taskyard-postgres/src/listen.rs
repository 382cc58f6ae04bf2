//! Receives notifications of other processes' commits: one connection that LISTENs and passes them to the waiters of
//! this store.
//!
//! Started by the first call that waits for something. The connection counts as working only while a probe, sent
//! through a connection for work, arrives: a pooler in transaction mode accepts LISTEN and then delivers nothing. After
//! an interruption all waiters are woken once, because any notification may have been missed.

use std::pin::pin;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::Result;
use taskyard_core::backoff::AWAY;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::address::Address;
use crate::inner::Inner;
use crate::pool::Role;
use crate::{connect, notify};

const PROBE_EACH: Duration = Duration::from_secs(10);
const PROBE_ANSWER_MAX: Duration = Duration::from_secs(5);
/// Pause before the next attempt through a pooler that swallows notifications; it will probably go on doing so.
const DEAF_PAUSE: Duration = Duration::from_secs(30);

/// Listens until the store is closed or dropped.
pub(crate) async fn run(inner: Weak<Inner>, address: Address) {
    let mut failures = 0;
    let mut warned = false;
    while let Some(store) = inner.upgrade().filter(|store| !store.pool.is_closed()) {
        let mut claims = store.claims.subscribe();
        let opened = open(&address).await;
        drop(store);
        let mut pause = AWAY.draw(failures);
        let mut why = "the connection ended".to_owned();
        match opened {
            Ok((client, notified, probe)) => {
                if listen(&inner, client, notified, &probe, &mut claims).await {
                    failures = 0;
                } else {
                    why = "no notification arrives (a pooler in transaction mode?)".into();
                    pause = DEAF_PAUSE;
                }
            }
            Err(error) => why = error.to_string(),
        }
        let Some(store) = inner.upgrade() else { return };
        store.lose_notifications();
        drop(store);
        if warned {
            tracing::debug!("LISTEN: {why}");
        } else {
            tracing::warn!("notifications are not received, polling continues: {why}");
        }
        warned = true;
        failures += 1;
        sleep(pause).await;
    }
}

/// Opens the connection. The channel of new tasks is left to [`listen`]: a program that only waits for its tasks would be woken
/// by every addition.
async fn open(address: &Address) -> Result<(Client, UnboundedReceiver<String>, String)> {
    let (client, notified) = connect::open_listening(address).await?;
    let probe = format!("taskyard_probe_{}", uuid::Uuid::new_v4().simple());
    for channel in [notify::FINISHED, notify::SIGNAL, notify::SCHEDULE, &probe] {
        subscribe(&client, channel).await?;
    }
    Ok((client, notified, probe))
}

async fn subscribe(client: &Client, channel: &str) -> Result<()> {
    // LISTEN takes no parameters. The channel's name was checked: letters, digits, underscores.
    let statement = format!("LISTEN \"{channel}\"");
    timeout(PROBE_ANSWER_MAX, client.batch_execute(&statement))
        .await
        .map_err(|_| taskyard_core::Error::Connection("LISTEN: no answer in time".into()))?
        .map_err(|error| crate::failure::of_statement(&error))
}

/// Passes notifications on until the connection breaks or a probe does not arrive. Returns whether a probe ever
/// arrived.
async fn listen(
    inner: &Weak<Inner>,
    client: Client,
    mut notified: UnboundedReceiver<String>,
    probe: &str,
    claims: &mut watch::Receiver<bool>,
) -> bool {
    let (mut up, mut listens_for_work) = (false, false);
    loop {
        let Some(store) = inner.upgrade().filter(|store| !store.pool.is_closed()) else { return up };
        // The connection may be busy with a large addition; what arrives meanwhile is passed on.
        let mut sending = pin!(async move {
            store.pool.query(Role::Client, "SELECT pg_catalog.pg_notify($1, '')", &[(&probe, Type::TEXT)]).await
        });
        // Waits for the probe first, then until the next one is due.
        let (mut sent, mut arrived) = (false, false);
        let mut limit = PROBE_ANSWER_MAX;
        loop {
            if !listens_for_work && *claims.borrow_and_update() {
                let Some(store) = inner.upgrade() else { return up };
                if subscribe(&client, &store.options.notify_channel).await.is_err() {
                    return up;
                }
                listens_for_work = true;
                // Tasks may have been added before.
                store.notifications.work.notify();
            }
            let received = tokio::select! {
                biased;
                channel = notified.recv() => channel,
                changed = claims.changed(), if !listens_for_work => match changed {
                    Ok(()) => continue,
                    Err(_) => return up,
                },
                reply = &mut sending, if !sent => {
                    if reply.is_err() {
                        return up;
                    }
                    sent = true;
                    continue;
                }
                () = sleep(limit), if sent => {
                    if arrived {
                        break;
                    }
                    return up;
                }
            };
            let (Some(channel), Some(store)) = (received, inner.upgrade()) else { return up };
            if channel == probe {
                arrived = true;
                limit = PROBE_EACH;
                if !up {
                    up = true;
                    store.hears.store(true, Ordering::Release);
                    store.notify_all();
                }
            } else if channel == notify::FINISHED {
                store.notifications.finished.notify();
            } else if channel == notify::SIGNAL {
                store.notifications.signal.notify();
            } else if channel == notify::SCHEDULE {
                store.notifications.schedules.notify();
            } else {
                store.notifications.work.notify();
            }
            if client.is_closed() || store.pool.is_closed() {
                return up;
            }
        }
    }
}
