//! Cache of the parking reasons that do not apply in the child processes.
//!
//! Only a child process knows which functions the application defines, so it is asked once about each reason. A reason
//! is asked about again when another child becomes ready, which may have newer code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use taskyard_core::seal::key_of_reason;

use super::Children;
use super::child::Child;
use super::frame::ToChild;
use crate::primitives::lock::lock;

/// Maximum number of cached reasons; beyond it the cache is cleared and reasons are asked about again.
const REMEMBERED_MAX: usize = 10_000;

/// Replies of the children about parking reasons.
#[derive(Default)]
pub(super) struct CapabilityCache {
    /// Replies of the children: `None` = asked, or to be asked.
    reasons: HashMap<String, Option<bool>>,
    /// Reasons that no child was asked about yet.
    wanted: Vec<String>,
}

impl CapabilityCache {
    /// Returns true if a child is needed to reply.
    pub fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Asks a child that became ready about all reasons that are open or that no earlier child could serve, because it
    /// may have newer code.
    pub fn begin(&mut self, child: &Child) {
        self.wanted.clear();
        for known in self.reasons.values_mut().filter(|known| **known == Some(false)) {
            *known = None;
        }
        let open: Vec<String> =
            self.reasons.iter().filter(|(_, known)| known.is_none()).map(|(reason, _)| reason.clone()).collect();
        if !open.is_empty() {
            child.send(ToChild::ProbeParked(open));
        }
    }

    /// Asks a child about the reasons that no child was asked about.
    fn probe(&mut self, child: &Child) {
        child.send(ToChild::ProbeParked(std::mem::take(&mut self.wanted)));
    }

    /// Applies the reply of a child, which lists the reasons that do not apply there. Returns true if there are any.
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

    /// Returns the cached reply for a reason; an unknown reason is queued for asking.
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
    /// Returns those of the reasons that are known not to apply here. A child is asked about the unknown ones.
    pub(super) fn known_of(self: &Arc<Self>, reasons: &[String]) -> Vec<String> {
        let mut pool = lock(&self.pool);
        let mut known = Vec::new();
        for reason in reasons {
            let holds_not = match key_of_reason(reason) {
                Some(key) => self.keys().is_some_and(|keys| keys.find(key).is_some()),
                None => pool.capabilities.of(reason) == Some(true),
            };
            if holds_not {
                known.push(reason.clone());
            }
        }
        if pool.capabilities.is_wanted() {
            let pool = &mut *pool;
            match pool.children.values().find(|child| child.takes()) {
                Some(child) => pool.capabilities.probe(child),
                None if !pool.is_pausing(Instant::now()) => self.feed(pool),
                None => {}
            }
        }
        known
    }
}
