//! Dead letters for applications: list, count, edit, retry, purge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Client, refused};
use crate::store::{ControlReply, NewPayload, TaskEdit, TaskFilter};
use crate::{Error, Result, TaskId, TaskRecord, TaskState, payload, seal};

/// Number of tasks per statement.
const PAGE: usize = 1_000;

/// Changes to a dead letter; `None` leaves a part unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadEdit {
    /// The positional arguments, a JSON list.
    pub args: Option<String>,
    /// The named arguments, a JSON object.
    pub kwargs: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// The priority.
    pub priority: Option<i32>,
    /// Number of retries after the first failure.
    pub max_retries: Option<u32>,
    /// Language in whose own encoding the new arguments are; plain JSON if `None`.
    pub language: Option<String>,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    #[serde(skip)]
    pub unlisted: crate::Unlisted,
}

impl DeadEdit {
    /// Returns whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn dead(filter: &TaskFilter) -> TaskFilter {
    TaskFilter { states: vec![TaskState::Failed], ..filter.clone() }
}

impl Client {
    /// Returns one page of dead letters, newest first. The filter's states are ignored.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)]
    /// # async fn divide(left: i64, right: i64) -> Result<i64, String> {
    /// #     left.checked_div(right).ok_or_else(|| "division by zero".to_owned())
    /// # }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskFilter;
    ///
    /// queue.add(divide(6, 0)).await?;
    /// queue.drain().await?;
    /// let filter = TaskFilter { message: Some("division".into()), ..TaskFilter::default() };
    /// let dead = queue.dead_letters(&filter).await?;
    /// assert_eq!(dead[0].error.as_ref().expect("of a dead letter").message, "division by zero");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn dead_letters(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        self.open_store()?.list(&dead(filter)).await
    }

    /// Returns the number of dead letters that match a filter.
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn count_dead(&self, filter: &TaskFilter) -> Result<u64> {
        self.open_store()?.count(&dead(filter)).await
    }

    /// Changes a dead letter (or a cancelled or stopped task) without changing its state. The result is checked like an
    /// addition.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)]
    /// # async fn divide(left: i64, right: i64) -> Result<i64, String> {
    /// #     left.checked_div(right).ok_or_else(|| "division by zero".to_owned())
    /// # }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::DeadEdit;
    ///
    /// let task = queue.add(divide(6, 0)).await?;
    /// queue.drain().await?;
    /// let edit = DeadEdit { args: Some("[6, 3]".into()), ..DeadEdit::default() };
    /// queue.edit_dead(task.id(), &edit).await?;
    /// task.retry().await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::EditedMeanwhile`] if the task changed during the edit;
    /// [`Error::InvalidArgument`] for arguments that are not valid for a task, and for signed ones, whose signature
    /// would not match any more; [`Error::OverLimit`]; and [database errors](Client#database-errors).
    pub async fn edit_dead(&self, id: TaskId, edit: &DeadEdit) -> Result<()> {
        let limits = self.config().limits;
        if let Some(queue) = &edit.queue {
            limits.check_name("queue", queue)?;
        }
        let record = self.open_store()?.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))?;
        let new = if edit.args.is_some() || edit.kwargs.is_some() {
            let new = with_arguments(&record.payload, record.payload_encoded, edit)?;
            payload::check_foreign(&new, &limits)?;
            Some(NewPayload { seen: record.payload, payload: new, encoded: edit.language.is_some() })
        } else {
            None
        };
        let edit = TaskEdit {
            payload: new,
            queue: edit.queue.clone(),
            priority: edit.priority,
            max_retries: edit.max_retries,
        };
        let reply = self.open_store()?.edit(id, &edit).await?;
        refused(id, reply, "only a failed, cancelled or stopped task can be edited").map(drop)
    }

    /// Retries every dead letter that matches a filter, in bounded batches, and returns how many were retried. Tasks
    /// that were retried elsewhere in the meantime are not counted, nor are those whose unique key another task holds;
    /// the latter are logged.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskFilter;
    ///
    /// queue.add_tasks([fetch(), fetch().queue("web")]).await?;
    /// queue.drain().await?;
    /// let filter = TaskFilter { queue: Some("web".into()), ..TaskFilter::default() };
    /// assert_eq!(queue.retry_dead(&filter).await?, 1);
    /// assert_eq!(queue.count_dead(&TaskFilter::default()).await?, 1); // the other one
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors); tasks retried until then stay retried.
    pub async fn retry_dead(&self, filter: &TaskFilter) -> Result<u64> {
        let (mut retried, mut held, mut after) = (0, 0_u64, None);
        loop {
            let ids = self.open_store()?.select(&dead(filter), after, PAGE).await?;
            let Some(last) = ids.last() else {
                if held > 0 {
                    tracing::warn!(tasks = held, "dead letters were not retried: other tasks hold their unique keys");
                }
                return Ok(retried);
            };
            after = Some(*last);
            let replies = self.open_store()?.retry(&ids).await?;
            retried += replies.iter().filter(|reply| matches!(reply, ControlReply::Applied(_))).count() as u64;
            held += replies.iter().filter(|reply| matches!(reply, ControlReply::KeyHeld(_))).count() as u64;
        }
    }

    /// Deletes every dead letter that matches a filter, and returns how many.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskFilter;
    ///
    /// queue.add(fetch()).await?;
    /// queue.drain().await?;
    /// assert_eq!(queue.purge_dead(&TaskFilter::default()).await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::purge`].
    pub async fn purge_dead(&self, filter: &TaskFilter) -> Result<u64> {
        self.purge(&dead(filter)).await
    }
}

/// Returns the payload with its arguments replaced by those of an edit; everything else in it is kept. `encoded`
/// describes the stored payload; the new one is encoded if the edit names a language.
fn with_arguments(stored: &[u8], encoded: bool, edit: &DeadEdit) -> Result<Vec<u8>> {
    let wrong = |why: &str| Error::InvalidArgument { what: "arguments", why: why.to_owned() };
    let signed = "they contain values that are signed for this task: they cannot be edited, only retried unchanged";
    if encoded && seal::is_sealed(stored) {
        return Err(wrong(signed));
    }
    let mut parts: BTreeMap<String, &RawValue> = serde_json::from_slice(stored)
        .map_err(|error| wrong(&format!("the stored arguments are not a JSON object: {error}")))?;
    // `lang` declares that values are exact. For the new arguments that holds only if the edit says so.
    let written_in: Option<String> = match parts.remove("lang") {
        Some(text) if encoded => {
            serde_json::from_str(text.get()).map_err(|_| wrong("the stored `lang` is not a string"))?
        }
        _ => None,
    };
    // Declared results stay declared.
    parts.remove("results");
    let results = payload::references::declared(stored, encoded);
    let mut given = String::new();
    let mut put = |name: &str, value: &str| {
        given.push_str(if given.is_empty() { "{" } else { "," });
        given.push_str(&serde_json::Value::from(name).to_string());
        given.push(':');
        given.push_str(value);
    };
    let stored_part = |parts: &mut BTreeMap<String, &RawValue>, name: &str, empty: &'static str| {
        parts.remove(name).map_or_else(|| empty.to_owned(), |value| value.get().to_owned())
    };
    let (args, kwargs) = (stored_part(&mut parts, "args", "[]"), stored_part(&mut parts, "kwargs", "{}"));
    let keeps_some = (edit.args.is_none() && args != "[]") || (edit.kwargs.is_none() && kwargs != "{}");
    if keeps_some && written_in != edit.language {
        return Err(wrong(
            "the arguments that would stay are encoded differently from the new ones: give both `args` and `kwargs`",
        ));
    }
    match &edit.args {
        Some(text) => put("args", list(text).map_err(|why| wrong(&format!("`args` is not a JSON list: {why}")))?),
        None => put("args", &args),
    }
    match &edit.kwargs {
        Some(text) => {
            put("kwargs", object(text).map_err(|why| wrong(&format!("`kwargs` is not a JSON object: {why}")))?)
        }
        None => put("kwargs", &kwargs),
    }
    if let Some(language) = &edit.language {
        put("lang", &serde_json::Value::from(language.as_str()).to_string());
    }
    for (name, value) in parts {
        put(&name, value.get());
    }
    if edit.language.is_none() && !results.is_empty() {
        let results: Vec<String> = results.iter().map(|id| format!("\"{id}\"")).collect();
        put("results", &format!("[{}]", results.join(",")));
    }
    given.push('}');
    let new = given.into_bytes();
    if edit.language.is_some() && seal::is_sealed(&new) {
        return Err(wrong(signed));
    }
    let new_results = payload::references::declared(&new, edit.language.is_some());
    if new_results.iter().any(|id| !results.contains(id)) {
        return Err(wrong("an edit cannot insert the result of a task that is not a parent of this task"));
    }
    Ok(new)
}

fn list(text: &str) -> Result<&str, serde_json::Error> {
    serde_json::from_str::<Vec<&RawValue>>(text).map(|_| text.trim())
}

fn object(text: &str) -> Result<&str, serde_json::Error> {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map(|_| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(stored: &str, args: Option<&str>, kwargs: Option<&str>) -> Result<String> {
        let edit = DeadEdit { args: args.map(str::to_owned), kwargs: kwargs.map(str::to_owned), ..DeadEdit::default() };
        with_arguments(stored.as_bytes(), true, &edit).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_not_given_stays_byte_for_byte() {
        let stored = r#"{"args":[1.0, "ü\u0000"],"kwargs":{"a":1e400}}"#;
        let new = edited(stored, Some(" [2] "), None).unwrap();
        assert_eq!(new, r#"{"args":[2],"kwargs":{"a":1e400}}"#);
        let new = edited(stored, None, Some("{}")).unwrap();
        assert_eq!(new, r#"{"args":[1.0, "ü\u0000"],"kwargs":{}}"#);
        // Plain values are converted to the function's types; everything else is kept.
        let new = edited(r#"{"args":[1],"kwargs":{},"lang":"python","x":[ 1]}"#, Some("[2]"), None).unwrap();
        assert_eq!(new, r#"{"args":[2],"kwargs":{},"x":[ 1]}"#);
        let exact = DeadEdit { args: Some("[2]".into()), language: Some("python".into()), ..DeadEdit::default() };
        let new = with_arguments(br#"{"lang":"python"}"#, true, &exact).unwrap();
        assert_eq!(new, br#"{"args":[2],"kwargs":{},"lang":"python"}"#);
    }

    #[test]
    fn an_edit_asks_for_no_further_result() {
        let refers = r#"[{"$result":"01890000-0000-7000-8000-000000000000"}]"#;
        let exact = DeadEdit { args: Some(refers.into()), language: Some("python".into()), ..DeadEdit::default() };
        assert!(with_arguments(b"{}", true, &exact).is_err());
        // In plain JSON the same text is data, unless the task was added with that result.
        assert_eq!(edited("{}", Some(refers), None).unwrap(), format!(r#"{{"args":{refers},"kwargs":{{}}}}"#));
        let list = r#"["01890000-0000-7000-8000-000000000000"]"#;
        let stored = format!(r#"{{"args":{refers},"kwargs":{{}},"results":{list}}}"#);
        let edit = DeadEdit { args: Some(format!("[1,{refers}]")), ..DeadEdit::default() };
        let new = with_arguments(stored.as_bytes(), false, &edit).unwrap();
        let expected = format!(r#"{{"args":[1,{refers}],"kwargs":{{}},"results":{list}}}"#);
        assert_eq!(String::from_utf8(new).unwrap(), expected);
    }

    #[test]
    fn two_encodings_are_never_mixed() {
        let stored = r#"{"args":[{"$date":"2026-03-04"}],"kwargs":{"a":1},"lang":"python"}"#;
        for (args, kwargs) in [(Some("[2]"), None), (None, Some("{}"))] {
            let error = edited(stored, args, kwargs).unwrap_err().to_string();
            assert!(error.contains("give both"), "{error}");
        }
        assert_eq!(edited(stored, Some("[2]"), Some("{}")).unwrap(), r#"{"args":[2],"kwargs":{}}"#);
        let exact = DeadEdit { args: Some("[2]".into()), language: Some("python".into()), ..DeadEdit::default() };
        assert_eq!(
            with_arguments(stored.as_bytes(), true, &exact).unwrap(),
            br#"{"args":[2],"kwargs":{"a":1},"lang":"python"}"#
        );
        assert!(with_arguments(br#"{"args":[],"kwargs":{"a":1}}"#, true, &exact).is_err());
    }

    #[test]
    fn what_can_be_no_arguments_is_refused() {
        for (args, kwargs) in [
            (Some("{}"), None),
            (Some("[1"), None),
            (Some("[1],2"), None),
            (Some(""), None),
            (None, Some("[]")),
            (None, Some("{1:2}")),
        ] {
            assert!(edited("{}", args, kwargs).is_err(), "{args:?} {kwargs:?}");
        }
    }

    #[test]
    fn signed_arguments_are_refused_however_they_are_spelled() {
        for stored in [r#"{"args":[{"$dill":"AA"}]}"#, r#"{"args":[[{"x":{"\u0024dill":"AA"}}]]}"#] {
            let error = edited(stored, Some("[]"), None).unwrap_err().to_string();
            assert!(error.contains("signed"), "{error}");
        }
        let exact = DeadEdit {
            args: Some(r#"[{"$dill":"AA"}]"#.into()),
            language: Some("python".into()),
            ..DeadEdit::default()
        };
        assert!(with_arguments(b"{}", true, &exact).is_err());
        // Plain JSON contains nothing signed.
        assert!(edited("{}", Some(r#"[{"$dill":"AA"}]"#), None).is_ok());
    }
}
