//! [`States`]: the application's values that bodies take, one per type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

/// Values by type; clones share them.
#[derive(Clone, Default)]
pub(crate) struct States(HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>);

impl States {
    /// Stores a value; the last one of a type wins.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), (type_name::<T>(), Arc::new(value)));
    }

    pub fn contains(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }

    /// Returns a clone of the value of this type.
    pub fn get<T: Any + Clone>(&self) -> Option<T> {
        self.0.get(&TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref::<T>()).cloned()
    }

    /// Returns the names of the types.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.values().map(|(name, _)| *name)
    }
}
