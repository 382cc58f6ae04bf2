//! Stored JSON for output, byte for byte: numbers of any size and precision are shown as they were stored.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// A JSON object that holds its values as text.
pub type Object = BTreeMap<&'static str, Box<RawValue>>;

/// Returns stored bytes as JSON: valid JSON unchanged, anything else as a string with U+FFFD in place of invalid UTF-8.
#[must_use]
pub fn stored(bytes: &[u8]) -> Box<RawValue> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| RawValue::from_string(text.to_owned()).ok())
        .unwrap_or_else(|| value(&String::from_utf8_lossy(bytes)))
}

/// Encodes a value of this program.
#[must_use]
pub fn value(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("plain data becomes JSON")
}
