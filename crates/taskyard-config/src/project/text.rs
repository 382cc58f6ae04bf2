//! Decodes text files as editors write them, and refuses those in another encoding.
//!
//! A file is UTF-8, with or without a byte order mark, with LF or CRLF. A file in another encoding is refused as a whole,
//! because parts of it would look right and settings in the other parts would be ignored silently.

/// Decodes the bytes of a file.
///
/// # Errors
/// A message with the reason and the remedy if the file is not UTF-8, or if its lines end with a carriage return alone.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") || bytes.contains(&0) {
        return Err("it is in UTF-16 or holds zero bytes; save it as UTF-8".into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
    if text.trim_end().replace("\r\n", "\n").contains('\r') {
        return Err("it has lines that end with a carriage return alone; save it with line feeds (LF or CRLF)".into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_read_right_or_refused() {
        let utf16 = |text: &str, mark: &[u8]| {
            [mark.to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()
        };
        assert_eq!(decode(b"\xEF\xBB\xBFa = 1\r\nb = 2\r".to_vec()).unwrap(), "a = 1\r\nb = 2\r");
        assert_eq!(decode("ä\n".into()).unwrap(), "ä\n");
        for (bytes, part) in [
            (utf16("a = 1\n", b"\xFF\xFE"), "UTF-16"),
            (utf16("a = 1\n", b""), "UTF-16"),
            (b"a = 1\nb = \xE4\n".to_vec(), "line 2 is not UTF-8"),
            (b"a = 1\rb = 2\r".to_vec(), "carriage return"),
        ] {
            let why = decode(bytes).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
