//! Results as arguments: `{"$result": "ID"}` in a payload stands for the result of the parent with this id.
//!
//! The results are inserted before the task's body starts. A parent that did not end in `done`, but whose child runs
//! all the same, gives `null`. In valid JSON the text of a reference cannot occur inside a string, because its
//! quotation marks would be escaped; so references are found without parsing the whole payload.
//!
//! A plain payload may contain the same text as data. There, only ids that the producer declared beside the arguments
//! are references: `{"args": [...], "kwargs": {...}, "results": ["ID", ...]}`.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::{Error, Result, TaskId};

const KEY: &[u8] = b"\"$result\"";
const RESULTS: &[u8] = b"\"results\"";

/// Returns the text that stands for a task's result.
#[must_use]
pub fn reference(id: TaskId) -> String {
    format!("{{\"$result\":\"{id}\"}}")
}

/// Returns whether a payload may contain references.
#[must_use]
pub fn may_refer(payload: &[u8]) -> bool {
    find(payload, 0).is_some()
}

/// Returns the size of the payload in bytes once references are replaced by results of these sizes.
#[must_use]
pub fn filled_len(payload: &[u8], sizes: &HashMap<TaskId, usize>) -> usize {
    let (mut length, mut at) = (payload.len(), 0);
    while let Some(key) = find(payload, at) {
        at = key + KEY.len();
        let Some((from, to, id)) = around(payload, key) else { continue };
        let Some(size) = sizes.get(&id) else { continue };
        length = (length - (to - from)).saturating_add(*size);
        at = to;
    }
    length
}

/// Returns the payload with references replaced by these results; references to other tasks stay as they are.
#[must_use]
pub fn fill(payload: &[u8], results: &HashMap<TaskId, Option<&[u8]>>) -> Vec<u8> {
    let mut filled = Vec::with_capacity(payload.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(key) = find(payload, at) {
        at = key + KEY.len();
        let Some((from, to, id)) = around(payload, key) else { continue };
        let Some(result) = results.get(&id) else { continue };
        filled.extend_from_slice(&payload[copied..from]);
        filled.extend_from_slice(result.unwrap_or(b"null"));
        (copied, at) = (to, to);
    }
    filled.extend_from_slice(&payload[copied..]);
    filled
}

/// Returns the tasks whose results a payload requires: all references if the Python client encoded it, which escapes
/// data; only those that its producer declared if it is plain.
#[must_use]
pub fn declared(payload: &[u8], encoded: bool) -> Vec<TaskId> {
    if !encoded {
        return results(payload).map_or_else(Vec::new, |(_, ids)| ids);
    }
    named(payload)
}

/// Returns all tasks that a payload contains references to.
fn named(payload: &[u8]) -> Vec<TaskId> {
    let (mut ids, mut at) = (Vec::new(), 0);
    while let Some(key) = find(payload, at) {
        at = key + KEY.len();
        ids.extend(around(payload, key).map(|(_, _, id)| id));
    }
    ids
}

/// Returns the task that an object refers to whose only key is at this offset.
pub(super) fn at_key(payload: &[u8], key: usize) -> Option<TaskId> {
    payload[key..].starts_with(KEY).then(|| around(payload, key)).flatten().map(|(_, _, id)| id)
}

/// Returns the position of the list of declared results, and its ids.
fn results(payload: &[u8]) -> Option<(std::ops::Range<usize>, Vec<TaskId>)> {
    #[derive(serde::Deserialize)]
    struct Declared<'a> {
        #[serde(borrow)]
        results: &'a RawValue,
    }
    if !payload.windows(RESULTS.len()).any(|window| window == RESULTS) {
        return None;
    }
    let list = serde_json::from_slice::<Declared<'_>>(payload).ok()?.results.get();
    let from = list.as_ptr() as usize - payload.as_ptr() as usize;
    Some((from..from + list.len(), serde_json::from_str(list).ok()?))
}

/// Changes a payload's references to one task into references to another, which takes its place.
pub fn rename(payload: &mut [u8], from: TaskId, to: TaskId) {
    if let Some((list, ids)) = results(payload)
        && ids.contains(&from)
    {
        let (old, new) = (from.to_string(), to.to_string());
        let list = &mut payload[list];
        for at in 0..list.len().saturating_sub(old.len() - 1) {
            if list[at..].starts_with(old.as_bytes()) {
                list[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
        }
    }
    let mut at = 0;
    while let Some(key) = find(payload, at) {
        at = key + KEY.len();
        let Some((_, end, id)) = around(payload, key) else { continue };
        let text = id.to_string();
        // Both ids have the same length, and the id was parsed from this range.
        let place = payload[key..end].windows(text.len()).position(|window| window == text.as_bytes());
        if let Some(place) = place.filter(|_| id == from) {
            payload[key + place..key + place + text.len()].copy_from_slice(to.to_string().as_bytes());
        }
    }
}

fn find(payload: &[u8], from: usize) -> Option<usize> {
    payload.get(from..)?.windows(KEY.len()).position(|window| window == KEY).map(|at| from + at)
}

/// Returns the start and end of the object around a key, and the id in it.
fn around(payload: &[u8], key: usize) -> Option<(usize, usize, TaskId)> {
    let space = |byte: &u8| byte.is_ascii_whitespace();
    let from = payload[..key].iter().rposition(|byte| !space(byte))?;
    let mut rest = payload[key + KEY.len()..].iter().enumerate().filter(|(_, byte)| !space(byte));
    let (_, colon) = rest.next()?;
    let (open, quote) = rest.next()?;
    if payload[from] != b'{' || *colon != b':' || *quote != b'"' {
        return None;
    }
    let text = payload.get(key + KEY.len() + open + 1..)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let id = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    let close = text[end + 1..].iter().position(|byte| !space(byte))?;
    if text[end + 1 + close] != b'}' {
        return None;
    }
    Some((from, key + KEY.len() + open + 1 + end + 1 + close + 1, id))
}

/// Replaces one argument by `text`, which refers to the tasks `ids`: by position if it was passed so, otherwise by
/// name.
///
/// # Errors
/// [`Error::InvalidArgument`] for an invalid payload, a name that no parameter has, and another argument that contains
/// the text of such a reference as data.
pub fn put(payload: &[u8], names: &[&str], name: &str, text: &str, ids: &[TaskId]) -> Result<Vec<u8>> {
    let wrong = |why: String| Error::InvalidArgument { what: "result_of", why };
    #[derive(serde::Deserialize)]
    struct Envelope {
        #[serde(default)]
        args: Vec<Box<RawValue>>,
        #[serde(default)]
        kwargs: std::collections::BTreeMap<String, Box<RawValue>>,
        #[serde(default)]
        results: Vec<TaskId>,
    }
    let value = RawValue::from_string(text.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let mut envelope: Envelope = serde_json::from_slice(payload).map_err(|error| wrong(error.to_string()))?;
    let place = names.iter().position(|known| *known == name);
    if place.is_none() && !names.is_empty() {
        return Err(wrong(format!(
            "the function has no parameter `{}`; it has {}",
            name.escape_debug(),
            names.join(", ")
        )));
    }
    match place.and_then(|place| envelope.args.get_mut(place)) {
        Some(argument) => *argument = value,
        None => drop(envelope.kwargs.insert(name.to_owned(), value)),
    }
    let json = |value: std::result::Result<String, serde_json::Error>| value.map_err(|error| wrong(error.to_string()));
    let (args, kwargs) = (json(serde_json::to_string(&envelope.args))?, json(serde_json::to_string(&envelope.kwargs))?);
    let declared = |id: &TaskId| envelope.results.contains(id);
    if let Some(id) = named(payload).iter().find(|id| ids.contains(id) && !declared(id)) {
        return Err(wrong(format!("an argument contains, as data, the text that marks the result of task {id}")));
    }
    let mut results = envelope.results.clone();
    results.extend(ids.iter().filter(|id| !declared(id)));
    let results = json(serde_json::to_string(&results))?;
    Ok(format!("{{\"args\":{args},\"kwargs\":{kwargs},\"results\":{results}}}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_take_the_places_of_their_references_and_nothing_else() {
        let [first, second, other] = [TaskId::generate(), TaskId::generate(), TaskId::generate()];
        let results = HashMap::from([(first, Some(&b"[1, 2]"[..])), (second, None)]);
        let cases = [
            (format!("{{\"args\":[{}]}}", reference(first)), "{\"args\":[[1, 2]]}".to_owned()),
            (format!("[{},{}]", reference(first), reference(second)), "[[1, 2],null]".to_owned()),
            (format!("{{ \"$result\" :\n\"{first}\" }}"), "[1, 2]".to_owned()),
            (reference(other), reference(other)),
            (
                format!("[\"{{\\\"$result\\\":\\\"{first}\\\"}}\"]"),
                format!("[\"{{\\\"$result\\\":\\\"{first}\\\"}}\"]"),
            ),
            (format!("{{\"$result\":\"{first}\",\"a\":1}}"), format!("{{\"$result\":\"{first}\",\"a\":1}}")),
            ("{\"$result\":1}".into(), "{\"$result\":1}".into()),
            ("\"$result\"".into(), "\"$result\"".into()),
            ("{\"$result\":\"".into(), "{\"$result\":\"".into()),
        ];
        let sizes = results.iter().map(|(id, result)| (*id, result.map_or(4, <[u8]>::len))).collect();
        for (payload, expected) in cases {
            assert_eq!(filled_len(payload.as_bytes(), &sizes), expected.len(), "{payload}");
            assert_eq!(String::from_utf8(fill(payload.as_bytes(), &results)).unwrap(), expected, "{payload}");
            assert!(may_refer(payload.as_bytes()) == payload.contains("\"$result\""));
        }
    }

    #[test]
    fn a_reference_is_renamed_in_its_place() {
        let [first, second] = [TaskId::generate(), TaskId::generate()];
        let mut payload = format!("[{}, {}, \"{first}\"]", reference(first), reference(second)).into_bytes();
        rename(&mut payload, first, second);
        let expected = format!("[{0}, {0}, \"{first}\"]", reference(second));
        assert_eq!(String::from_utf8(payload).unwrap(), expected);
    }

    #[test]
    fn an_argument_is_replaced_by_place_or_added_by_name() {
        let payload = br#"{"args":[1, 1e400],"kwargs":{"c":3}}"#;
        let put =
            |names: &[&str], name: &str| String::from_utf8(put(payload, names, name, "[9]", &[]).unwrap()).unwrap();
        assert_eq!(put(&["a", "b", "c"], "b"), r#"{"args":[1,[9]],"kwargs":{"c":3},"results":[]}"#);
        assert_eq!(put(&["a", "b", "c"], "c"), r#"{"args":[1,1e400],"kwargs":{"c":[9]},"results":[]}"#);
        assert_eq!(put(&[], "d"), r#"{"args":[1,1e400],"kwargs":{"c":3,"d":[9]},"results":[]}"#);
        assert!(super::put(payload, &["a"], "z", "1", &[]).unwrap_err().to_string().contains("`z`"));
    }

    #[test]
    fn only_declared_results_of_a_plain_payload_are_meant() {
        let [first, second] = [TaskId::generate(), TaskId::generate()];
        let data = format!("{{\"args\":[{},0]}}", reference(second));
        assert_eq!(declared(data.as_bytes(), false), []);
        assert_eq!(declared(data.as_bytes(), true), [second]);
        let names = ["a", "b"];
        let mut payload = put(data.as_bytes(), &names, "b", &reference(first), &[first]).unwrap();
        assert_eq!(declared(&payload, false), [first]);
        payload = put(&payload, &names, "a", &reference(first), &[first]).unwrap();
        assert_eq!(declared(&payload, false), [first]);
        rename(&mut payload, first, second);
        assert_eq!(declared(&payload, false), [second]);
        assert_eq!(declared(&payload, true), [second, second]);
        // The same text as data and as a reference could not be distinguished.
        assert!(put(data.as_bytes(), &names, "b", &reference(second), &[second]).is_err());
    }
}
