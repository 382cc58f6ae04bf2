//! Delivers dead letters to the application's hooks in a child process, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use serde_bytes::ByteBuf;
use taskyard_core::TaskRecord;
use tokio::sync::oneshot;

use super::Children;
use super::child::Child;
use super::frame::ToChild;
use crate::layer::death_hooks::{DELIVERY_MAX, DeliveryResult};
use crate::primitives::lock::lock;

/// A dead letter that is being delivered.
struct PendingDelivery {
    dead: ByteBuf,
    /// The child that calls the hooks, and since when.
    teller: Option<(u64, Instant)>,
    /// Set once the child has reported that it calls the hooks.
    begun: bool,
    answer: oneshot::Sender<DeliveryResult>,
}

/// State of the delivery of dead letters.
#[derive(Default)]
pub(super) struct HookDelivery {
    /// Whether the application has hooks, as reported by the last child that became ready.
    pub hooks: Option<bool>,
    /// Number of the current delivery, so that a late reply is not taken for that of another one.
    number: u64,
    pending: Option<PendingDelivery>,
}

impl HookDelivery {
    /// Returns true if a child is needed for a delivery.
    pub fn is_wanted(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.teller.is_none() && !pending.answer.is_closed())
    }

    /// Returns true if this child is calling the hooks.
    pub fn is_of(&self, child: u64) -> bool {
        self.pending.as_ref().and_then(|pending| pending.teller).is_some_and(|(teller, _)| teller == child)
    }

    fn begin(&mut self, dead: ByteBuf) -> oneshot::Receiver<DeliveryResult> {
        let (answer, result) = oneshot::channel();
        self.number += 1;
        self.pending = Some(PendingDelivery { dead, teller: None, begun: false, answer });
        result
    }

    fn end(&mut self, result: DeliveryResult) {
        if let Some(pending) = self.pending.take() {
            // The receiver may have been dropped.
            let _ = pending.answer.send(result);
        }
    }

    /// Sends the pending dead letter to a child that is ready.
    pub fn hand_out(&mut self, children: &BTreeMap<u64, Child>, now: Instant) {
        if !self.is_wanted() {
            return;
        }
        if self.hooks == Some(false) {
            self.end(DeliveryResult::NoHook);
        } else if self.hooks == Some(true)
            && let Some((number, child)) = calmest(children)
            && let Some(pending) = &mut self.pending
        {
            pending.teller = Some((*number, now));
            child.send(ToChild::Death(self.number, pending.dead.clone()));
        }
    }

    /// Notes that a child begins to call the hooks; the time limit counts from now.
    pub fn begins(&mut self, number: u64, now: Instant) {
        if number == self.number
            && let Some(PendingDelivery { teller: Some((_, since)), begun, .. }) = &mut self.pending
        {
            (*since, *begun) = (now, true);
        }
    }

    /// Notes that a child has called the hooks.
    pub fn told(&mut self, number: u64) {
        if number == self.number {
            self.end(DeliveryResult::Delivered);
        }
    }

    /// Notes that a child is gone. `beside`: tasks that ran there may have caused its death.
    pub fn gone(&mut self, child: u64, beside: bool) {
        if self.is_of(child) {
            let begun = self.pending.as_ref().is_some_and(|pending| pending.begun);
            self.end(if begun && !beside { DeliveryResult::Lost } else { DeliveryResult::Undelivered });
        }
    }

    /// Ends the delivery because no child becomes ready here; other servers may have working ones.
    pub fn broken(&mut self) {
        if self.is_wanted() {
            self.end(DeliveryResult::NoHook);
        }
    }

    /// Ends a delivery that takes too long. Returns the child that is responsible, whether it was calling the hooks or
    /// had not begun.
    pub fn watch(&mut self, now: Instant) -> Option<u64> {
        let pending = self.pending.as_ref()?;
        let (teller, since) = pending.teller?;
        if now.saturating_duration_since(since) < DELIVERY_MAX {
            return None;
        }
        self.end(if pending.begun { DeliveryResult::Late } else { DeliveryResult::Undelivered });
        Some(teller)
    }
}

/// Returns the child with the fewest tasks.
fn calmest(children: &BTreeMap<u64, Child>) -> Option<(&u64, &Child)> {
    children.iter().filter(|(_, child)| child.takes()).min_by_key(|(_, child)| child.assignments.len())
}

impl Children {
    /// Returns whether the application has hooks, if known; false while children fail to start.
    pub(super) fn hears(&self) -> Option<bool> {
        let pool = lock(&self.pool);
        if pool.is_broken() { Some(false) } else { pool.hook_delivery.hooks }
    }

    pub(super) fn deliver(self: &Arc<Self>, dead: &TaskRecord) -> BoxFuture<'static, DeliveryResult> {
        let dead = match serde_json::to_vec(dead) {
            Ok(dead) => ByteBuf::from(dead),
            Err(error) => {
                tracing::error!(task = %dead.id, %error, "hooks cannot be run for this dead letter");
                return Box::pin(std::future::ready(DeliveryResult::Delivered));
            }
        };
        let mut pool = lock(&self.pool);
        let result = pool.hook_delivery.begin(dead);
        self.feed(&mut pool);
        drop(pool);
        Box::pin(async { result.await.unwrap_or(DeliveryResult::Lost) })
    }
}
