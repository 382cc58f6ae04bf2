//! One dead letter at a time, of which a child tells the application's hooks.

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

/// A death on its way.
struct Word {
    dead: ByteBuf,
    /// Which child tells, and since when.
    teller: Option<(u64, Instant)>,
    /// It said that it begins.
    begun: bool,
    answer: oneshot::Sender<Heard>,
}

#[derive(Default)]
pub(super) struct Telling {
    /// Whether the application has hooks, as the last child that came up said.
    pub hooks: Option<bool>,
    /// Counts the deaths, so that a late answer is not taken for another's.
    number: u64,
    word: Option<Word>,
}

impl Telling {
    /// Whether a child is needed.
    pub fn is_wanted(&self) -> bool {
        self.word.as_ref().is_some_and(|word| word.teller.is_none() && !word.answer.is_closed())
    }

    /// Whether this child is telling.
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
            // Nobody may listen any more.
            let _ = word.answer.send(heard);
        }
    }

    /// Gives it to a child that is there.
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

    /// A child begins to call the hooks: its minute counts from now.
    pub fn begins(&mut self, number: u64, now: Instant) {
        if number == self.number
            && let Some(Word { teller: Some((_, since)), begun, .. }) = &mut self.word
        {
            (*since, *begun) = (now, true);
        }
    }

    /// A child has called the hooks.
    pub fn told(&mut self, number: u64) {
        if number == self.number {
            self.end(Heard::Told);
        }
    }

    /// A child is no more; `beside`: tasks ran there that may be why.
    pub fn gone(&mut self, child: u64, beside: bool) {
        if self.is_of(child) {
            let begun = self.word.as_ref().is_some_and(|word| word.begun);
            self.end(if begun && !beside { Heard::Lost } else { Heard::Unheard });
        }
    }

    /// No child comes up: others may have some that do.
    pub fn broken(&mut self) {
        if self.is_wanted() {
            self.end(Heard::NoHook);
        }
    }

    /// Ends what takes too long; the child that is to blame for it, or that has not even listened.
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

/// The child that has the least to do.
fn calmest(children: &BTreeMap<u64, Child>) -> Option<(&u64, &Child)> {
    children.iter().filter(|(_, child)| child.takes()).min_by_key(|(_, child)| child.flights.len())
}

impl Children {
    /// Of children that do not come up nothing is expected.
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
