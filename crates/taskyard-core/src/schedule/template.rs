//! The stored form of a schedule's task: readable columns, and one JSON text with all other options.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::state::Runtime;
use crate::task::{NewTask, Start, plain, policy_from_text};
use crate::time::limit_millis;
use crate::{Error, Limits, Result, TaskId};

/// The options in the JSON text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<crate::task::Unique>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auto_remove: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_most_once: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

/// Validates the task, and refuses options that a scheduled task cannot have.
pub(super) fn check(task: &mut NewTask, limits: &Limits) -> Result<()> {
    let refuse = |what, why: &str| Err(Error::InvalidArgument { what, why: why.into() });
    if !task.parents.is_empty() {
        return refuse("parents", "a scheduled task has none: each run is a task of its own");
    }
    if task.start != Start::Now {
        return refuse("delay", "the schedule says when its task starts: put the time into its rule");
    }
    task.check(limits)
}

/// Returns the options as JSON text.
pub(super) fn options(task: &NewTask) -> String {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let raw = |text: String| RawValue::from_string(text).ok();
    let options = Options {
        name: task.name.clone(),
        context: task.context.clone().and_then(|context| String::from_utf8(context).ok()).and_then(raw),
        expires_ms: task.expires.map(millis),
        retry: task.policy_text().and_then(raw),
        timeout_ms: task.timeout.map(limit_millis),
        unique: task.unique.clone(),
        auto_remove: task.auto_remove,
        at_most_once: task.at_most_once,
        tags: task.tags.clone(),
    };
    serde_json::to_string(&options).expect("plain data becomes JSON")
}

/// Builds the task from its columns and the text of its options, and describes the problem if the text is invalid
/// because it was edited by hand. `plain_parts` are the bits of [`NewTask::plain_parts`].
#[must_use]
pub fn stored_task(
    kind: String,
    runtime: Runtime,
    queue: String,
    priority: i32,
    payload: Vec<u8>,
    plain_parts: i16,
    options: &str,
) -> (NewTask, Option<String>) {
    let read = serde_json::from_str::<Options>(options).and_then(|options| {
        let (retry, extra) = policy_from_text(options.retry.as_deref().map(RawValue::get))?;
        Ok((options, retry, extra))
    });
    let ((options, retry, extra), problem) = match read {
        Ok(read) => (read, None),
        Err(error) => (Default::default(), Some(format!("its options cannot be read: {error}"))),
    };
    let task = NewTask {
        id: TaskId(uuid::Uuid::nil()),
        runtime,
        queue,
        priority,
        name: options.name,
        payload_encoded: plain_parts & plain::PAYLOAD == 0,
        context: options.context.map(|context| context.get().as_bytes().to_vec()),
        context_encoded: plain_parts & plain::CONTEXT == 0,
        expires: options.expires_ms.map(Duration::from_millis),
        retry,
        timeout: options.timeout_ms.map(Duration::from_millis),
        unique: options.unique,
        auto_remove: options.auto_remove,
        at_most_once: options.at_most_once,
        tags: options.tags,
        extra,
        ..NewTask::new(kind, payload)
    };
    (task, problem)
}
