//! The table of the extra options of a task: plain values that no statement of a store reads.
//!
//! An extra option is a field of [`ExtraOptions`], with an example and a check there, and a method of `Call`. All else
//! follows: both stores and schedules keep the options inside the JSON text of the retry policy, so that no column,
//! statement or migration is needed, and a record shows each of them under its name, `null` if it is not set. Not here:
//! options that a statement reads or that users filter by; they are fields of [`NewTask`] with columns of their own.
//!
//! Options that only a newer program knows are kept by whatever stores the task or its schedule again.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::NewTask;
use crate::{Error, Limits, Result, RetryPolicy};

/// The options of a task that no statement of a store reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtraOptions {
    /// Options that this program does not know.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl ExtraOptions {
    /// Returns options with a value for each of them, and one that only a newer program knows.
    #[doc(hidden)]
    #[must_use]
    pub fn examples() -> Self {
        let examples = r#"{"of_a_newer_program": [1.5, "it's", {"a": "{☃}"}]}"#;
        serde_json::from_str(examples).expect("the options have these types")
    }

    /// Refuses a value that is outside of its range, and options that are too large together: they are read with every claim.
    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        let size = if *self == Self::default() { 0 } else { Value::Object(self.to_map()).to_string().len() };
        if size > limits.context_bytes_max {
            let (what, setting, max) = ("the extra options take", "context_bytes_max", limits.context_bytes_max);
            return Err(Error::OverLimit { what, setting, size, max, list_bytes: 0 });
        }
        Ok(())
    }

    /// Decodes the options that a client gives, a JSON object.
    ///
    /// # Errors
    /// The reason why it cannot be decoded, which names an option that does not exist.
    #[doc(hidden)]
    pub fn from_json(text: &str) -> Result<Self, String> {
        let given: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match given.unknown.keys().next() {
            Some(name) => Err(format!("a task has no `{name}`")),
            None => Ok(given),
        }
    }

    /// Returns the options that are set and that this program knows, by their names.
    #[doc(hidden)]
    #[must_use]
    pub fn shown(&self) -> Map<String, Value> {
        let mut shown = self.to_map();
        shown.retain(|name, value| !value.is_null() && !self.unknown.contains_key(name));
        shown
    }

    fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a struct of plain data becomes an object"),
        }
    }
}

/// Serializes the options that this program knows, set or not, as a record shows them.
pub(super) fn known<S: Serializer>(extra: &ExtraOptions, serializer: S) -> Result<S::Ok, S::Error> {
    let mut known = extra.to_map();
    known.retain(|name, _| !extra.unknown.contains_key(name));
    known.serialize(serializer)
}

impl NewTask {
    /// Returns the stored form of its retry policy and its extra options: see [`policy_text`].
    #[doc(hidden)]
    #[must_use]
    pub fn policy_text(&self) -> Option<String> {
        policy_text(&self.retry, &self.extra)
    }
}

/// Returns the JSON text with which a retry policy and extra options are stored, or `None` if all have their defaults:
/// the fields of the policy, and under `extra` an object with the options that are set.
#[must_use]
pub fn policy_text(retry: &RetryPolicy, extra: &ExtraOptions) -> Option<String> {
    #[derive(Serialize)]
    struct Stored<'a> {
        #[serde(flatten)]
        retry: &'a RetryPolicy,
        #[serde(skip_serializing_if = "Map::is_empty")]
        extra: Map<String, Value>,
    }
    if *retry == RetryPolicy::default() && *extra == ExtraOptions::default() {
        return None;
    }
    let mut set = extra.to_map();
    set.retain(|_, value| !value.is_null());
    Some(serde_json::to_string(&Stored { retry, extra: set }).expect("plain data becomes JSON"))
}

/// Decodes the result of [`policy_text`].
///
/// # Errors
/// The error of a text that is not such an object, or that has a field which no policy has.
pub fn policy_from_text(text: Option<&str>) -> Result<(RetryPolicy, ExtraOptions), serde_json::Error> {
    let Some(text) = text else { return Ok(Default::default()) };
    let without_extra = match serde_json::from_str(text) {
        Ok(retry) => return Ok((retry, ExtraOptions::default())),
        Err(error) => error,
    };
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(text) else { return Err(without_extra) };
    let Some(extra) = fields.remove("extra") else { return Err(without_extra) };
    Ok((serde_json::from_value(Value::Object(fields))?, serde_json::from_value(extra)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_stored_with_the_policy() {
        let retry = RetryPolicy { max_retries: 7, ..RetryPolicy::default() };
        let extra = ExtraOptions::examples();
        for retry in [RetryPolicy::default(), retry] {
            for extra in [ExtraOptions::default(), extra.clone()] {
                let text = policy_text(&retry, &extra);
                assert_eq!(policy_from_text(text.as_deref()).unwrap(), (retry.clone(), extra.clone()), "{text:?}");
            }
        }
    }

    #[test]
    fn a_policy_without_them_has_no_trace_of_them() {
        let retry = RetryPolicy::none();
        let text = policy_text(&retry, &ExtraOptions::default());
        assert_eq!(text, serde_json::to_string(&retry).ok());
        assert_eq!(policy_text(&RetryPolicy::default(), &ExtraOptions::default()), None);
    }

    #[test]
    fn unknown_fields_of_the_policy_are_errors() {
        for text in [r#"{"max":1}"#, r#"{"extra":{},"max":1}"#, r#"{"extra":7}"#, "7", ""] {
            policy_from_text(Some(text)).unwrap_err();
        }
    }

    #[test]
    fn every_option_has_an_example() {
        let all = serde_json::to_value(ExtraOptions::default()).unwrap();
        let all: Vec<&String> = all.as_object().unwrap().keys().collect();
        assert_eq!(all, ExtraOptions::examples().shown().keys().collect::<Vec<_>>());
    }

    #[test]
    fn clients_give_known_options_only() {
        assert_eq!(ExtraOptions::from_json("{}"), Ok(ExtraOptions::default()));
        assert_eq!(ExtraOptions::from_json(r#"{"colour":1}"#), Err("a task has no `colour`".into()));
    }
}
