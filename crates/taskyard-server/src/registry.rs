//! The functions that a server may run, the state values of the application, and its hooks.
//!
//! A row in the database never loads or calls anything outside of the registry. A task of an unknown kind is parked
//! with the reason that [`parked_reason`](crate::parked_reason) returns; a server that has the kind finds the task by the same text.
//!
//! Imports `layer`, `task` and `attempt`; an attempt does not know the registry, only the function and the state values that it needs.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use taskyard_core::{Error, Namespace, Result, TaskRecord};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::parked_reason::kind_of_reason;
use crate::attempt::states::States;
use crate::layer::death_hooks::Hooks;
use crate::layer::{BodyEnd, Layers, TaskService};
use crate::{StateType, TaskContext, TaskDef, TaskError};

/// The functions by kind, and the state values and hooks of the application.
#[derive(Clone, Default)]
pub struct Registry {
    defs: HashMap<&'static str, &'static TaskDef>,
    namespace: Option<Namespace>,
    states: States,
    skips_missing_state: bool,
    conflict: Option<String>,
    death_hooks: Hooks,
    layers: Layers,
}

impl Registry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function. The same function may be added twice; two functions of one kind are rejected by
    /// [`Self::check`].
    #[must_use]
    pub fn register(mut self, def: &'static TaskDef) -> Self {
        for kind in std::iter::once(def.kind()).chain(def.aliases.iter().copied()) {
            match self.defs.get(kind) {
                Some(known) if known.location != def.location => {
                    let text = format!("two functions have the kind `{kind}`: {} and {}", known.location, def.location);
                    self.conflict.get_or_insert(text);
                }
                Some(_) => {}
                None => {
                    self.defs.insert(kind, def);
                }
            }
        }
        self
    }

    /// Adds several functions.
    #[must_use]
    pub fn extend(self, defs: impl IntoIterator<Item = &'static TaskDef>) -> Self {
        defs.into_iter().fold(self, Self::register)
    }

    /// Sets or removes the namespace, a prefix of the kinds of all functions. It also applies to the server's child
    /// processes.
    #[must_use]
    pub fn in_namespace(self, namespace: Option<Namespace>) -> Self {
        Self { namespace, ..self }
    }

    /// Returns the namespace of its kinds.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// Provides a clone of this value to every task through [`crate::TaskContext::state`]; one value per type, the last
    /// one wins.
    #[must_use]
    pub fn state<T: Any + Send + Sync + Clone>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Leaves the tasks that take a missing state value to other servers: their kinds are unknown to this one. Without
    /// this, [`Self::check`] rejects them.
    #[must_use]
    pub fn skip_missing_state(self) -> Self {
        Self { skips_missing_state: true, ..self }
    }

    /// Adds a hook that is called when a Rust task has become a dead letter (state `failed`), for any reason and in any
    /// process. A server of this program that serves the task's queue calls it once, normally within a second. It is
    /// called twice if that server dies during the call, and not at all if no such server runs for a day, or if the
    /// task is retried or removed before.
    ///
    /// Hooks are called in the order in which they were added, on a thread of their own, one dead letter after the
    /// other, with one minute for all hooks of a dead letter. Connections that they open and tasks that they spawn
    /// belong to the multi-threaded runtime that called `serve`; without one, they end with the hook. An error that a
    /// hook returns is logged.
    ///
    /// For longer work, add a task in the hook.
    #[must_use]
    pub fn on_death<F, Calling, E>(mut self, hook: F) -> Self
    where
        F: Fn(TaskRecord) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = std::result::Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.death_hooks.push(hook);
        self
    }

    /// Wraps the bodies of all Rust tasks, async and blocking, in a `tower::Layer`; the last one added is outermost, as
    /// with axum's `Router::layer`. See [`crate::layer`].
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskContext, Response = Vec<u8>> + Clone + Send + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<TaskError>,
        <L::Service as Service<TaskContext>>::Future: Send,
    {
        self.layers.add(&layer);
        self
    }

    /// Adds a hook that is called before each run of a Rust task's body, outside of all layers, as part of the attempt.
    /// If it fails, the attempt fails as if the body had, and the body does not run. Hooks are called in the order in
    /// which they were added.
    #[must_use]
    pub fn on_pre_run<F, Calling, E>(mut self, hook: F) -> Self
    where
        F: Fn(TaskContext) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = std::result::Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.layers.hooks.before(hook);
        self
    }

    /// Adds a hook that is called after each run of a Rust task's body, however it ended. The attempt is decided by
    /// then: an error that the hook returns is only logged, and a hook that exceeds the attempt's time limit is
    /// dropped. Hooks are called where the body ran, before its slot is released. After a body that was dropped
    /// (cancelled, out of time, the server stops) they are called in a task on the application's runtime, for which a
    /// stopping server waits within its grace period. A killed process calls none.
    #[must_use]
    pub fn on_post_run<F, Calling, E>(mut self, hook: F) -> Self
    where
        F: Fn(TaskContext, BodyEnd) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = std::result::Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.layers.hooks.after(hook);
        self
    }

    /// Checks the functions and their state values.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if two different functions have the same kind (the message contains both locations),
    /// or if functions take state values that are missing ([`Self::state`]) and not skipped
    /// ([`Self::skip_missing_state`]); the message lists all of them.
    pub fn check(&self) -> Result<()> {
        self.check_kinds()?;
        if self.skips_missing_state {
            return Ok(());
        }
        missing_state(self.defs.values().flat_map(|def| self.missing_states(def).map(|state| (def.kind(), state.name))))
    }

    /// Checks that no two functions have the same kind.
    pub(crate) fn check_kinds(&self) -> Result<()> {
        match &self.conflict {
            Some(why) => Err(Error::InvalidArgument { what: "task", why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Checks that the state values of a function are present.
    pub(crate) fn check_state(&self, def: &TaskDef) -> Result<()> {
        missing_state(self.missing_states(def).map(|state| (def.kind(), state.name)))
    }

    /// Returns true if a server can run at least one of the functions.
    #[doc(hidden)]
    #[must_use]
    pub fn serves_any(&self) -> bool {
        self.defs.values().any(|def| !self.skips_missing_state || self.missing_states(def).next().is_none())
    }

    /// Returns the registry without the functions that are skipped.
    pub(crate) fn without_skipped(self: Arc<Self>) -> Arc<Self> {
        if !self.skips_missing_state || self.defs.values().all(|def| self.missing_states(def).next().is_none()) {
            return self;
        }
        let mut rest = Self::clone(&self);
        rest.defs.retain(|_, def| self.missing_states(def).next().is_none());
        Arc::new(rest)
    }

    /// Returns the state values that a function takes and that are missing.
    fn missing_states<'a>(&'a self, def: &'a TaskDef) -> impl Iterator<Item = StateType> + 'a {
        def.states.iter().filter_map(|state| state()).filter(|state| !self.states.contains(state.id))
    }

    /// Returns the function of a kind as stored in the database, with the namespace.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&'static TaskDef> {
        let name = match &self.namespace {
            Some(namespace) => namespace.name_of(kind)?,
            None => kind,
        };
        self.defs.get(name).copied()
    }

    /// Returns all kinds, including aliases, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        let full = |name: &&str| self.namespace.as_ref().map_or_else(|| (*name).to_owned(), |it| it.own(name));
        let mut kinds: Vec<_> = self.defs.keys().map(full).collect();
        kinds.sort_unstable();
        kinds
    }

    /// Returns true if the reason of a parked task is a kind that this registry has.
    #[must_use]
    pub fn knows_reason(&self, reason: &str) -> bool {
        kind_of_reason(reason).is_some_and(|kind| self.get(kind).is_some())
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    pub(crate) fn death_hooks(&self) -> &Hooks {
        &self.death_hooks
    }

    pub(crate) fn states(&self) -> &States {
        &self.states
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<_> = self.states.names().collect();
        f.debug_struct("Registry").field("kinds", &self.kinds()).field("states", &states).finish()
    }
}

/// Returns an error that lists each missing state value with the tasks that take it; `Ok` if there are none.
fn missing_state(missing: impl Iterator<Item = (&'static str, &'static str)>) -> Result<()> {
    let mut by_state: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (kind, state) in missing {
        by_state.entry(state).or_default().insert(kind);
    }
    if by_state.is_empty() {
        return Ok(());
    }
    let list = |kinds: &BTreeSet<&str>| kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
    let states: Vec<String> =
        by_state.iter().map(|(state, kinds)| format!("State<{state}> ({})", list(kinds))).collect();
    let why = format!(
        "tasks take a state that the queue does not have: {}. Call `.state(value)` on the queue with each of them first; if another \
         program runs these tasks, call `.skip_missing_state()`, which leaves them to it",
        states.join(", ")
    );
    Err(Error::InvalidArgument { what: "state", why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Run, parked_reason};

    const fn def(location: &'static str) -> TaskDef {
        TaskDef {
            kind: || "app::send",
            aliases: &["app::mail"],
            names: &[],
            states: &[],
            run: Run::Async(|_| Box::pin(async { Ok(b"null".to_vec()) })),
            location,
        }
    }
    static FIRST: TaskDef = def("src/a.rs:1");
    static SECOND: TaskDef = def("src/b.rs:2");

    #[test]
    fn two_functions_of_one_kind_are_refused_with_both_places() {
        Registry::new().register(&FIRST).register(&FIRST).check().unwrap();
        let error = Registry::new().extend([&FIRST, &SECOND]).check().unwrap_err().to_string();
        assert!(error.contains("src/a.rs:1") && error.contains("src/b.rs:2"), "{error}");
    }

    #[test]
    fn a_reason_finds_its_kind_again() {
        let registry = Registry::new().register(&FIRST).state(7_u32);
        assert_eq!(kind_of_reason(&parked_reason("a`b")), Some("a`b"));
        assert!(registry.knows_reason("kind `app::send`") && registry.knows_reason("kind `app::mail`"));
        assert!(!registry.knows_reason("kind `app::other`"));
        assert!(!registry.knows_reason("key ab12"));
        assert_eq!(registry.states().get::<u32>(), Some(7));
        assert_eq!(registry.states().get::<u64>(), None);
    }
}
