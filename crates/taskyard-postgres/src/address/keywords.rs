//! libpq's keyword form of an address: `host=db.example dbname=shop user=app password='a b'`.

/// Returns the unquoted pairs of an address, or `None` if it cannot be parsed.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(|letter: char| !(letter.is_ascii_lowercase() || letter == '_')) {
            return None;
        }
        let (value, behind) = value_of(value.trim_start())?;
        found.push((name.to_owned(), value));
        rest = behind.trim_start();
    }
    Some(found)
}

/// Returns the value at the beginning of a text, and the rest of the text.
fn value_of(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |text| (true, text));
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.push(letters.next()?.1),
            '\'' if quoted => {
                let behind = &text[at + 1..];
                return behind.chars().next().is_none_or(char::is_whitespace).then_some((value, behind));
            }
            letter if !quoted && letter.is_whitespace() => return Some((value, &text[at..])),
            letter => value.push(letter),
        }
    }
    (!quoted).then_some((value, ""))
}

/// Formats one pair for the driver.
pub(super) fn written(name: &str, value: &str) -> String {
    format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_libpq_does() {
        let read = |text: &str| {
            pairs(text)
                .map(|pairs| pairs.into_iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>())
        };
        let expected = ["host:h", "password:a b'c\\d", "user:", "port:1"].map(str::to_owned).to_vec();
        assert_eq!(read(" host = h password='a b\\'c\\\\d' user='' port=1 "), Some(expected));
        for wrong in ["host", "host=h password='a", "host='h'x", "=h", "host=h;password=p q", "Host=h"] {
            assert!(!matches!(read(wrong), Some(found) if found.len() > 1), "{wrong}");
        }
        assert!(read("Host=h").is_none() && read("host='h'x").is_none() && read("host=h password").is_none());
        assert_eq!(pairs(&written("password", "a'b\\c")), Some(vec![("password".into(), "a'b\\c".into())]));
    }
}
