//! Stored JSON on its way out, byte for byte: a number of any size and precision is shown as it was stored.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// A JSON object whose values are kept as their text.
pub type Object = BTreeMap<&'static str, Box<RawValue>>;

/// Stored bytes: valid JSON as it stands, anything else as a string with U+FFFD for what is not UTF-8.
#[must_use]
pub fn stored(bytes: &[u8]) -> Box<RawValue> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| RawValue::from_string(text.to_owned()).ok())
        .unwrap_or_else(|| value(&String::from_utf8_lossy(bytes)))
}

/// A value of the program's own.
#[must_use]
pub fn value(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("plain data becomes JSON")
}
