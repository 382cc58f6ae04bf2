//! Escapes plain JSON for a reader that decodes type tags, so that no data is taken for a tag.
//!
//! The Python client writes values that JSON lacks as objects with one key that begins with `$`, and writes an object
//! whose own keys begin with `$` as `{"$dict": [[key, value], ..]}`. JSON from other producers was never escaped.
//! Python must always receive the client's encoding, so every object of plain JSON with such a key is written as a
//! `$dict` here. All other bytes stay as they are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::references;
use crate::TaskId;

/// Returns whether some object key in this JSON may begin with `$`.
#[must_use]
pub fn may_hold_tags(json: &[u8]) -> bool {
    json.windows(2).any(|two| two == b"\"$") || json.windows(7).any(|seven| seven == b"\"\\u0024")
}

/// Returns plain JSON in the Python client's encoding.
#[must_use]
pub fn escape(json: &[u8]) -> Cow<'_, [u8]> {
    escape_but(json, &[], 0)
}

/// Returns a plain context in the Python client's encoding: its names are unchanged, and the values below them are
/// escaped.
#[must_use]
pub fn escape_context(json: &[u8]) -> Cow<'_, [u8]> {
    escape_but(json, &[], 1)
}

/// Returns the arguments of a plain payload in the Python client's encoding, escaped except for the result references
/// that its producer declared.
#[must_use]
pub fn escape_call(payload: &[u8]) -> Vec<u8> {
    let Ok(parts) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(payload) else {
        // Not an object: the reader refuses null.
        return b"null".to_vec();
    };
    let declared = references::declared(payload, false);
    let mut call = b"{".to_vec();
    for name in ["args", "kwargs"] {
        let Some(value) = parts.get(name) else { continue };
        if call.len() > 1 {
            call.push(b',');
        }
        call.extend_from_slice(format!("\"{name}\":").as_bytes());
        // Argument names are not tags.
        call.extend_from_slice(&escape_but(value.get().as_bytes(), &declared, usize::from(name == "kwargs")));
    }
    call.push(b'}');
    call
}

/// An open bracket: a list, or an object that is copied or written as `$dict`.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    List,
    Kept,
    Escaped,
}

/// Escapes all but the outermost `kept` levels of objects and the references to `declared` results.
fn escape_but<'a>(json: &'a [u8], declared: &[TaskId], kept: usize) -> Cow<'a, [u8]> {
    if !may_hold_tags(json) {
        return Cow::Borrowed(json);
    }
    let tagged = tagged_objects(json, declared, kept);
    let mut out = Vec::with_capacity(json.len() + json.len() / 4);
    let (mut open, mut objects, mut at) = (Vec::new(), 0, 0);
    while at < json.len() {
        let byte = json[at];
        match (byte, open.last()) {
            (b'"', _) => {
                let end = end_of_string(json, at);
                out.extend_from_slice(&json[at..end]);
                at = end;
                continue;
            }
            (b'[', _) => {
                open.push(Open::List);
                out.push(byte);
            }
            (b'{', _) => {
                let escaped = tagged[objects];
                objects += 1;
                open.push(if escaped { Open::Escaped } else { Open::Kept });
                out.extend_from_slice(if escaped { b"{\"$dict\":[[" } else { b"{" });
            }
            (b':', Some(Open::Escaped)) => out.push(b','),
            (b',', Some(Open::Escaped)) => out.extend_from_slice(b"],["),
            (b'}', Some(Open::Escaped)) => {
                open.pop();
                out.extend_from_slice(b"]]}");
            }
            (b'}' | b']', _) => {
                open.pop();
                out.push(byte);
            }
            _ => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

/// Returns for each object, in the order of the opening brackets, whether one of its keys begins with `$`.
fn tagged_objects(json: &[u8], declared: &[TaskId], kept: usize) -> Vec<bool> {
    let mut tagged = Vec::new();
    let mut open: Vec<Option<usize>> = Vec::new();
    let (mut at, mut expects_key) = (0, false);
    while at < json.len() {
        match json[at] {
            b'"' => {
                let text = &json[at + 1..];
                let begins = text.first() == Some(&b'$') || text.starts_with(b"\\u0024");
                if let Some(Some(object)) = open.last()
                    && expects_key
                    && begins
                    && open.len() > kept
                    && !references::at_key(json, at).is_some_and(|id| declared.contains(&id))
                {
                    tagged[*object] = true;
                }
                expects_key = false;
                at = end_of_string(json, at);
                continue;
            }
            b'{' => {
                open.push(Some(tagged.len()));
                tagged.push(false);
                expects_key = true;
            }
            b'[' => {
                open.push(None);
                expects_key = false;
            }
            b'}' | b']' => {
                open.pop();
                expects_key = false;
            }
            b',' => expects_key = matches!(open.last(), Some(Some(_))),
            _ => {}
        }
        at += 1;
    }
    tagged
}

/// Returns the offset after the closing quotation mark of a string.
fn end_of_string(json: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(json: &str) -> String {
        String::from_utf8(escape(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn only_objects_with_such_keys_change() {
        for same in [
            "1",
            "\"$tuple\"",
            r#"{"a":{"b":["$x", "\"$y\":", 1e400, -0.0]},"c":"{\"$d\":1}"}"#,
            r#"[ {"a$":1} , {} ]"#,
            "[\"\\\\\", \"$\"]",
        ] {
            assert_eq!(escaped(same), same);
        }
        for (json, expected) in [
            (r#"{"$tuple":[1,2]}"#, r#"{"$dict":[["$tuple",[1,2]]]}"#),
            (r#"[{"a":{"$oid":"x"}}]"#, r#"[{"a":{"$dict":[["$oid","x"]]}}]"#),
            (r#"{"\u0024path":"/"}"#, r#"{"$dict":[["\u0024path","/"]]}"#),
            (r#"{"a" : 1 , "$b" : {"c":2}}"#, r#"{"$dict":[["a" , 1 ],[ "$b" , {"c":2}]]}"#),
            (r#"{"$dict":[[1,2]]}"#, r#"{"$dict":[["$dict",[[1,2]]]]}"#),
            (r#"{"$a":{"$b":[{"$c":[]}]}}"#, r#"{"$dict":[["$a",{"$dict":[["$b",[{"$dict":[["$c",[]]]}]]]}]]}"#),
        ] {
            assert_eq!(escaped(json), expected);
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }

    #[test]
    fn a_context_keeps_its_names_and_a_call_its_declared_results() {
        let context = br#"{"$schema":{"$date":1},"a":2}"#;
        assert_eq!(&*escape_context(context), br#"{"$schema":{"$dict":[["$date",1]]},"a":2}"#);
        let (declared, other) = (TaskId::generate(), TaskId::generate());
        let call = format!(
            r#"{{"lang":"python","fn":{{"$dill":"x"}},"kwargs":{{"$k":{{"$result":"{other}"}}}},"args":[{{"$result":"{declared}"}},{{"$path":"/"}}],"results":["{declared}"]}}"#
        );
        let expected = format!(
            r#"{{"args":[{{"$result":"{declared}"}},{{"$dict":[["$path","/"]]}}],"kwargs":{{"$k":{{"$dict":[["$result","{other}"]]}}}}}}"#
        );
        assert_eq!(String::from_utf8(escape_call(call.as_bytes())).unwrap(), expected);
        assert_eq!(escape_call(b"[{\"$path\":1}]"), b"null");
        assert_eq!(escape_call(b"{\"args\":NaN}"), b"null");
    }

    #[test]
    fn what_is_cut_off_or_unbalanced_does_not_panic() {
        for text in ["{\"$", "\"\\", "}]{\"$a\":", "[\"$", "{\"$a\",]}"] {
            let _ = escape(text.as_bytes());
        }
    }
}
