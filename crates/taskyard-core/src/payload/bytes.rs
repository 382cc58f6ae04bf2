//! Counts the bytes that are encoded in JSON as lists of numbers, as serde writes a `Vec<u8>`: about four characters
//! each.
//!
//! Used only by the message for a refused size, so that it can name the size of the data that the caller passed.

/// Shorter lists are not counted.
const LIST_MIN: usize = 64;

/// Returns how many bytes are in lists of numbers below 256 if these take more than half of the text; otherwise 0.
pub(crate) fn list_bytes(json: &[u8]) -> usize {
    let (mut bytes, mut characters) = (0, 0);
    let mut rest = json;
    while let Some(at) = next_bracket(rest) {
        rest = &rest[at + 1..];
        let (count, length) = numbers(rest);
        if count >= LIST_MIN {
            (bytes, characters) = (bytes + count, characters + length);
        }
        rest = &rest[length..];
    }
    if characters > json.len() / 2 { bytes } else { 0 }
}

/// Returns the offset of the next list outside of strings.
fn next_bracket(json: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    json.iter().position(|byte| {
        match (quoted, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => quoted = !quoted,
            (false, _, b'[') => return true,
            _ => {}
        }
        false
    })
}

/// Returns the number of elements and the length of the list that begins here, if all elements are numbers below 256;
/// otherwise zeros.
fn numbers(list: &[u8]) -> (usize, usize) {
    let (mut count, mut value, mut digits) = (0, 0_u32, 0);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            b'0'..=b'9' if digits < 3 => {
                (value, digits) = (value * 10 + u32::from(byte - b'0'), digits + 1);
            }
            b',' | b']' if digits > 0 && value < 256 => {
                (count, value, digits) = (count + 1, 0, 0);
                if *byte == b']' {
                    return (count, at);
                }
            }
            b' ' => {}
            // Not a list of bytes: the caller continues after its bracket.
            _ => return (0, 0),
        }
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_where_they_are_most_of_the_text() {
        let data: Vec<u8> = (0..=255).collect();
        let list = serde_json::to_string(&data).unwrap();
        for (json, bytes) in [
            (format!("{{\"args\":[{list}],\"kwargs\":{{}}}}"), 256),
            (format!("[{list},[{list}],\"[1,2]\\\"[\"]"), 512),
            (format!("[{list},\"{}\"]", "x".repeat(2_000)), 0),
            (format!("\"{list}\""), 0),
            (list.replace("255", "256"), 0),
            (list.replace("255", "2.5"), 0),
            (list.replace("255", "-25"), 0),
            (list[..500].to_owned(), 0),
            ("[1,2,3]".to_owned(), 0),
            ("[]".to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(list_bytes(json.as_bytes()), bytes, "{json}");
        }
    }
}
