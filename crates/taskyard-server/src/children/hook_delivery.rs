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
use crate::engine::lock;
use crate::hooks::{Heard, TELL_MAX};

/// A dead letter that is being delivered.
struct Word {
    dead: ByteBuf,
    /// The child that calls the hooks, and since when.
    teller: Option<(u64, Instant)>,
    /// Set once the child has reported that it calls the hooks.
    begun: bool,
    answer: oneshot::Sender<Heard>,
}

/// State of the delivery of dead letters.
#[derive(Default)]
pub(super) struct Telling {
    /// Whether the application has hooks, as reported by the last child that became ready.
    pub hooks: Option<bool>,
    /// Number of the current delivery, so that a late reply is not taken for that of another one.
    number: u64,
    word: Option<Word>,
}

impl Telling {
    /// Returns true if a child is needed for a delivery.
    pub fn is_wanted(&self) -> bool {
        self.word.as_ref().is_some_and(|word| word.teller.is_none() && !word.answer.is_closed())
    }

    /// Returns true if this child is calling the hooks.
    pub fn is_of(&self, child: u64) -> bool {
        self.word.as_ref().and_then(|word| word.teller).is_some_and(|(teller, _)| teller == child)
    }

    fn begin(&mut self, dead: ByteBuf) -> oneshot::Receiver<Heard> {
        let (answer, heard) = oneshot::channel();
        self.number += 1;
        self.word = Some(Word { dead, teller: None, begun: false, answer });
        heard
    }

    fn end(&mut self, heard: Heard) {
        if let Some(word) = self.word.take() {
            // The receiver may have been dropped.
            let _ = word.answer.send(heard);
        }
    }

    /// Sends the pending dead letter to a child that is ready.
    pub fn hand_out(&mut self, children: &BTreeMap<u64, Child>, now: Instant) {
        if !self.is_wanted() {
            return;
        }
        if self.hooks == Some(false) {
            self.end(Heard::NoHook);
        } else if self.hooks == Some(true)
            && let Some((number, child)) = calmest(children)
            && let Some(word) = &mut self.word
        {
            word.teller = Some((*number, now));
            child.send(ToChild::Death(self.number, word.dead.clone()));
        }
    }

    /// Notes that a child begins to call the hooks; the time limit counts from now.
    pub fn begins(&mut self, number: u64, now: Instant) {
        if number == self.number
            && let Some(Word { teller: Some((_, since)), begun, .. }) = &mut self.word
        {
            (*since, *begun) = (now, true);
        }
    }

    /// Notes that a child has called the hooks.
    pub fn told(&mut self, number: u64) {
        if number == self.number {
            self.end(Heard::Told);
        }
    }

    /// Notes that a child is gone. `beside`: tasks that ran there may have caused its death.
    pub fn gone(&mut self, child: u64, beside: bool) {
        if self.is_of(child) {
            let begun = self.word.as_ref().is_some_and(|word| word.begun);
            self.end(if begun && !beside { Heard::Lost } else { Heard::Unheard });
        }
    }

    /// Ends the delivery because no child becomes ready here; other servers may have working ones.
    pub fn broken(&mut self) {
        if self.is_wanted() {
            self.end(Heard::NoHook);
        }
    }

    /// Ends a delivery that takes too long. Returns the child that is responsible, whether it was calling the hooks or
    /// had not begun.
    pub fn watch(&mut self, now: Instant) -> Option<u64> {
        let word = self.word.as_ref()?;
        let (teller, since) = word.teller?;
        if now.saturating_duration_since(since) < TELL_MAX {
            return None;
        }
        self.end(if word.begun { Heard::Late } else { Heard::Unheard });
        Some(teller)
    }
}

/// Returns the child with the fewest tasks.
fn calmest(children: &BTreeMap<u64, Child>) -> Option<(&u64, &Child)> {
    children.iter().filter(|(_, child)| child.takes()).min_by_key(|(_, child)| child.flights.len())
}

impl Children {
    /// Returns whether the application has hooks, if known; false while children fail to start.
    pub(super) fn hears(&self) -> Option<bool> {
        let yard = lock(&self.yard);
        if yard.is_broken() { Some(false) } else { yard.telling.hooks }
    }

    pub(super) fn tell(self: &Arc<Self>, dead: &TaskRecord) -> BoxFuture<'static, Heard> {
        let dead = match serde_json::to_vec(dead) {
            Ok(dead) => ByteBuf::from(dead),
            Err(error) => {
                tracing::error!(task = %dead.id, %error, "hooks cannot be run for this dead letter");
                return Box::pin(std::future::ready(Heard::Told));
            }
        };
        let mut yard = lock(&self.yard);
        let heard = yard.telling.begin(dead);
        self.feed(&mut yard);
        drop(yard);
        Box::pin(async { heard.await.unwrap_or(Heard::Lost) })
    }
}
