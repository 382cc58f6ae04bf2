//! Arguments and results as exact bytes.
//!
//! A payload is JSON `{"args": [...], "kwargs": {...}}`. The bytes are stored as they were encoded, because a
//! database's own JSON type refuses or changes some valid JSON (`\u0000`, huge numbers, duplicate keys). Values that
//! JSON cannot represent exactly (NaN, infinities) are refused at the call.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{Error, Limits, Result};

mod bytes;
mod exact;
pub mod plain;
pub mod references;
pub mod shown;

pub(crate) use bytes::list_bytes;

/// Encodes positional arguments (a tuple) as a payload.
///
/// # Errors
/// [`Error::NotRepresentable`] for a value that JSON cannot represent; [`Error::OverLimit`] if it is too large or
/// nested too deep.
pub fn encode_args<A: Serialize>(args: &A, limits: &Limits) -> Result<Vec<u8>> {
    let args = encode("arguments", args, limits)?;
    let mut payload = Vec::with_capacity(args.len() + 24);
    payload.extend_from_slice(b"{\"args\":");
    // The parameters of a function without any are the unit, which serde writes as null.
    payload.extend_from_slice(if args == b"null" { b"[]" } else { &args });
    payload.extend_from_slice(b",\"kwargs\":{}}");
    Limits::check_json("arguments", "arguments_bytes_max", &payload, limits.arguments_bytes_max)?;
    Ok(payload)
}

/// Encodes a result.
///
/// # Errors
/// [`Error::NotRepresentable`] for a value that JSON cannot represent; [`Error::OverLimit`] if it is too large or
/// nested too deep.
pub fn encode_result<T: Serialize>(result: &T, limits: &Limits) -> Result<Vec<u8>> {
    let bytes = encode("result", result, limits)?;
    Limits::check_json("result", "result_bytes_max", &bytes, limits.result_bytes_max)?;
    Ok(bytes)
}

fn encode<T: Serialize>(what: &'static str, value: &T, limits: &Limits) -> Result<Vec<u8>> {
    let depth =
        exact::check(value).map_err(|error| Error::NotRepresentable { what: what.into(), why: error.to_string() })?;
    Limits::check_size(what, "nesting_max", depth, limits.nesting_max)?;
    serde_json::to_vec(value).map_err(|error| Error::NotRepresentable { what: what.into(), why: error.to_string() })
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kwargs: Option<&'a RawValue>,
}

/// Decodes a payload into a function's parameters.
///
/// `names` are the parameter names in order: a producer in another language may pass some or all of them by name.
/// Missing parameters are decoded from `null`, so that an `Option` becomes `None`.
///
/// # Errors
/// [`Error::InvalidArgument`] that names the parameter.
pub fn decode_args<A: DeserializeOwned>(payload: &[u8], names: &[&str]) -> Result<A> {
    let wrong = |why: String| Error::InvalidArgument { what: "payload", why };
    let envelope: Envelope<'_> = serde_json::from_slice(payload)
        .map_err(|error| wrong(format!("it is not a JSON object with `args` and `kwargs`: {error}")))?;
    let args: Vec<&RawValue> = match envelope.args {
        Some(args) => {
            serde_json::from_str(args.get()).map_err(|error| wrong(format!("`args` is not a list: {error}")))?
        }
        None => Vec::new(),
    };
    let mut kwargs: std::collections::BTreeMap<String, &RawValue> = match envelope.kwargs {
        Some(kwargs) => {
            serde_json::from_str(kwargs.get()).map_err(|error| wrong(format!("`kwargs` is not an object: {error}")))?
        }
        None => std::collections::BTreeMap::new(),
    };
    if args.len() > names.len() {
        return Err(wrong(format!("{} positional arguments for {} parameters", args.len(), names.len())));
    }
    let mut list = String::with_capacity(payload.len());
    list.push('[');
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            list.push(',');
        }
        match (args.get(at), kwargs.remove(*name)) {
            (Some(_), Some(_)) => {
                return Err(wrong(format!("`{name}` is given twice, by position and by name")));
            }
            (Some(value), None) => list.push_str(value.get()),
            (None, Some(value)) => list.push_str(value.get()),
            (None, None) => list.push_str("null"),
        }
    }
    list.push(']');
    if let Some(name) = kwargs.keys().next() {
        return Err(wrong(format!("the function has no parameter `{}`", name.escape_debug())));
    }
    // The unit tuple decodes from null.
    let text = if names.is_empty() { "null" } else { &list };
    serde_json::from_str(text).map_err(|error| wrong(format!("it does not fit ({}): {error}", names.join(", "))))
}

/// Checks the size, shape and nesting of a payload that was encoded elsewhere (SQL, HTTP, another language).
///
/// # Errors
/// [`Error::OverLimit`] for its size or nesting, [`Error::InvalidArgument`] if it is not a JSON object of this shape.
pub fn check_foreign(payload: &[u8], limits: &Limits) -> Result<()> {
    Limits::check_json("arguments", "arguments_bytes_max", payload, limits.arguments_bytes_max)?;
    let depth = exact::nesting(payload);
    // Not counting the envelope. The list of arguments counts, as it does in `encode_args`.
    Limits::check_size("arguments", "nesting_max", depth.saturating_sub(1), limits.nesting_max)?;
    let _: Envelope<'_> = serde_json::from_slice(payload)
        .map_err(|error| Error::InvalidArgument { what: "payload", why: error.to_string() })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trip<A: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(args: A, names: &[&str]) {
        let payload = encode_args(&args, &Limits::default()).unwrap();
        assert_eq!(decode_args::<A>(&payload, names).unwrap(), args, "{}", String::from_utf8_lossy(&payload));
    }

    #[test]
    fn arguments_survive_exactly() {
        trip((), &[]);
        trip(("a\0b\u{10ffff}".to_owned(), u64::MAX, i64::MIN), &["a", "b", "c"]);
        trip((0.1_f64, f64::MAX, 5e-324_f64, -0.0_f64), &["a", "b", "c", "d"]);
        trip((u128::MAX, vec![0_u8, 255], Some('ß')), &["a", "b", "c"]);
        trip((std::collections::BTreeMap::from([(1_u32, "x".to_owned())]),), &["map"]);
    }

    #[test]
    fn what_json_lacks_is_refused_at_the_call() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = encode_args(&(vec![value],), &Limits::default()).unwrap_err();
            assert!(matches!(error, Error::NotRepresentable { .. }), "{error}");
        }
        assert!(encode_args(&(f32::NAN,), &Limits::default()).is_err());
    }

    #[test]
    fn limits_name_themselves() {
        let limits = Limits { arguments_bytes_max: 100, nesting_max: 3, ..Limits::default() };
        let error = encode_args(&("x".repeat(100),), &limits).unwrap_err();
        assert!(error.to_string().contains("arguments_bytes_max"), "{error}");
        encode_args(&(vec![vec![1]],), &limits).unwrap();
        let error = encode_args(&(vec![vec![vec![1]]],), &limits).unwrap_err();
        let levels =
            "arguments have 4 levels of nested lists and objects, over the limit of 3 levels (setting nesting_max)";
        assert_eq!(error.to_string(), levels);
    }

    #[test]
    fn names_places_and_gaps() {
        let names = ["a", "b", "c"];
        type Args = (i32, String, Option<bool>);
        let decode = |text: &str| decode_args::<Args>(text.as_bytes(), &names);
        assert_eq!(decode(r#"{"args":[1],"kwargs":{"b":"x"}}"#).unwrap(), (1, "x".into(), None));
        assert_eq!(decode(r#"{"kwargs":{"c":true,"b":"x","a":1}}"#).unwrap(), (1, "x".into(), Some(true)));
        for wrong in [
            r#"{"args":[1,"x",null,4]}"#,
            r#"{"args":[1,"x"],"kwargs":{"a":2}}"#,
            r#"{"args":[1,"x"],"kwargs":{"d":2}}"#,
            r#"{"args":[1]}"#,
            r#"{"args":{}}"#,
            "[]",
            "{",
            "",
        ] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn foreign_payloads_are_checked() {
        let limits = Limits::default();
        check_foreign(br#"{"args":["\u0000",1e400]}"#, &limits).unwrap();
        let deep = format!(r#"{{"args":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(
            check_foreign(deep.as_bytes(), &limits),
            Err(Error::OverLimit { setting: "nesting_max", .. })
        ));
        assert!(check_foreign(b"nonsense", &limits).is_err());
    }
}
