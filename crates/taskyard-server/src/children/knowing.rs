//! Which parked tasks the children could run: they are asked once about each reason.
//!
//! Only a child knows what the application defines. A reason that was asked about is not asked again until another
//! child comes up, for that may have newer code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use taskyard_core::seal::key_of_reason;

use super::Children;
use super::child::Child;
use super::frame::ToChild;
use crate::engine::lock;

/// Reasons remembered at most: beyond that the oldest are no more than asked again.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Knowing {
    /// What the children said; `None` = asked, or to be asked.
    reasons: HashMap<String, Option<bool>>,
    /// No child has been asked about these.
    wanted: Vec<String>,
}

impl Knowing {
    /// Whether a child is needed to answer.
    pub fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// A child came up: asks it what nobody has answered, and again what no other knew, for it may have newer code.
    pub fn begin(&mut self, child: &Child) {
        self.wanted.clear();
        for known in self.reasons.values_mut().filter(|known| **known == Some(false)) {
            *known = None;
        }
        let open: Vec<String> =
            self.reasons.iter().filter(|(_, known)| known.is_none()).map(|(reason, _)| reason.clone()).collect();
        if !open.is_empty() {
            child.send(ToChild::Knows(open));
        }
    }

    /// Asks a child what nobody has been asked.
    fn ask(&mut self, child: &Child) {
        child.send(ToChild::Knows(std::mem::take(&mut self.wanted)));
    }

    /// Takes an answer: of these the child said that they do not hold there. Whether there is anything new to do.
    pub fn learn(&mut self, known: Vec<String>) -> bool {
        let asked = |reason: &String, wanted: &[String]| !wanted.contains(reason);
        for (reason, answer) in &mut self.reasons {
            if answer.is_none() && asked(reason, &self.wanted) {
                *answer = Some(false);
            }
        }
        let any = !known.is_empty();
        for reason in known {
            self.reasons.insert(reason, Some(true));
        }
        any
    }

    /// What is known of a reason; new ones are noted.
    fn of(&mut self, reason: &str) -> Option<bool> {
        if let Some(known) = self.reasons.get(reason) {
            return *known;
        }
        if self.reasons.len() >= REMEMBERED_MAX {
            self.reasons.clear();
        }
        self.reasons.insert(reason.to_owned(), None);
        self.wanted.push(reason.to_owned());
        None
    }
}

impl Children {
    /// Of these reasons, those that are known not to hold here. About others a child is asked.
    pub(super) fn known_of(self: &Arc<Self>, reasons: &[String]) -> Vec<String> {
        let mut yard = lock(&self.yard);
        let mut known = Vec::new();
        for reason in reasons {
            let holds_not = match key_of_reason(reason) {
                Some(key) => self.keys().is_some_and(|keys| keys.find(key).is_some()),
                None => yard.knowing.of(reason) == Some(true),
            };
            if holds_not {
                known.push(reason.clone());
            }
        }
        if yard.knowing.is_wanted() {
            let yard = &mut *yard;
            match yard.children.values().find(|child| child.takes()) {
                Some(child) => yard.knowing.ask(child),
                None if !yard.is_pausing(Instant::now()) => self.feed(yard),
                None => {}
            }
        }
        known
    }
}
