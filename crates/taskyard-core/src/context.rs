//! A task's context: one JSON object, read and written by dotted paths.
//!
//! `set("a.b", v)` creates the objects on the path. A value on the path that is not an object is replaced, so that a
//! body may first set `progress` to a number and later `progress.total`. Empty segments are refused.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::payload::shown;
use crate::{Error, Limits, Result};

/// The context of a running task.
#[derive(Clone, Debug, Default)]
pub struct Context {
    root: Map<String, Value>,
    /// Text of each top-level value that was read and not changed since, so that numbers are stored again as they were.
    read: BTreeMap<String, Box<RawValue>>,
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Context {
    /// Reads a stored context.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] if the bytes are not a JSON object.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong =
            |error: serde_json::Error| Error::NotRepresentable { what: "context".into(), why: error.to_string() };
        let root = serde_json::from_slice(bytes).map_err(wrong)?;
        let read = serde_json::from_slice(bytes).map_err(wrong)?;
        Ok(Self { root, read })
    }

    /// Encodes the context for the store.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if it exceeds `context_bytes_max`, [`Error::NotRepresentable`] if it cannot be encoded.
    pub fn to_bytes(&self, limits: &Limits) -> Result<Vec<u8>> {
        let exact = |(name, value): (_, &Value)| {
            let text = self.read.get::<String>(name).cloned();
            (name, text.unwrap_or_else(|| shown::value(value)))
        };
        let bytes = serde_json::to_vec(&self.root.iter().map(exact).collect::<BTreeMap<&String, Box<RawValue>>>())
            .map_err(|error| Error::NotRepresentable { what: "context".into(), why: error.to_string() })?;
        Limits::check_size("context", "context_bytes_max", bytes.len(), limits.context_bytes_max)?;
        Ok(bytes)
    }

    /// Returns the value at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut segments = path.split('.');
        let mut value = self.root.get(segments.next()?)?;
        for segment in segments {
            value = value.as_object()?.get(segment)?;
        }
        Some(value)
    }

    /// Sets the value at a path.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty path or segment, [`Error::OverLimit`] if the value would be nested too
    /// deep.
    pub fn set(&mut self, path: &str, value: Value, limits: &Limits) -> Result<()> {
        let segments: Vec<&str> = path.split('.').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err(Error::InvalidArgument {
                what: "context path",
                why: format!("`{}` has an empty segment", path.escape_debug()),
            });
        }
        Limits::check_size("context path", "nesting_max", segments.len() + depth(&value), limits.nesting_max)?;
        self.read.remove(segments[0]);
        let mut at = &mut self.root;
        for segment in &segments[..segments.len() - 1] {
            let entry = at.entry((*segment).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            at = entry.as_object_mut().expect("just made an object");
        }
        at.insert(segments[segments.len() - 1].to_owned(), value);
        Ok(())
    }

    /// Returns the whole object.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.root
    }

    /// Replaces the whole object.
    pub fn replace(&mut self, root: Map<String, Value>) {
        self.root = root;
        self.read.clear();
    }
}

/// Returns the levels of nesting: 0 for a plain value, 1 for a list or map of plain values.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_not_changed_is_stored_as_it_was() {
        let limits = Limits::default();
        let mut context =
            Context::from_bytes(br#"{"a":{"n":1000000000000000000000000000000},"b":1.00,"c":1}"#).unwrap();
        context.set("c", Value::from(2), &limits).unwrap();
        let bytes = context.to_bytes(&limits).unwrap();
        assert_eq!(bytes, br#"{"a":{"n":1000000000000000000000000000000},"b":1.00,"c":2}"#);
        context.replace(Map::new());
        assert_eq!(context.to_bytes(&limits).unwrap(), b"{}");
    }

    #[test]
    fn dotted_paths_nest_and_replace_what_is_in_the_way() {
        let limits = Limits::default();
        let mut context = Context::default();
        context.set("progress", 1.into(), &limits).unwrap();
        context.set("progress.total", 10.into(), &limits).unwrap();
        context.set("a.b.c", "x".into(), &limits).unwrap();
        assert_eq!(context.get("progress.total"), Some(&10.into()));
        assert_eq!(context.get("a.b"), Some(&serde_json::json!({"c": "x"})));
        assert_eq!(context.get("a.missing.c"), None);
        let bytes = context.to_bytes(&limits).unwrap();
        assert_eq!(Context::from_bytes(&bytes).unwrap(), context);
    }

    #[test]
    fn empty_segments_and_sizes_are_refused_and_spoil_nothing() {
        let limits = Limits { context_bytes_max: 20, nesting_max: 3, ..Limits::default() };
        let mut context = Context::default();
        for path in ["", ".a", "a..b", "a."] {
            assert!(context.set(path, 1.into(), &limits).is_err(), "{path}");
        }
        assert!(context.set("a.b.c.d", 1.into(), &limits).is_err());
        assert_eq!(context, Context::default());
        context.set("a", "x".repeat(40).into(), &limits).unwrap();
        assert!(matches!(context.to_bytes(&limits), Err(Error::OverLimit { setting: "context_bytes_max", .. })));
    }
}
