//! Escapes text from outside (rows, file names, messages) for a terminal.
//!
//! Characters that could move the cursor, change colours, forge a line or reorder text are shown as escapes: C0 and C1 controls
//! including ESC, DEL, line and paragraph separators, and the bidirectional controls. All other text is unchanged.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character could mislead a terminal or its reader.
const fn is_unsafe(char: char) -> bool {
    matches!(char,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Escapes a text as one line for a terminal: a line break or a tab becomes a space, ESC becomes `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut letters = text.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(char) = letters.next() {
        match char {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' | '\t' => shown.push(' '),
            char if is_unsafe(char) => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

/// Escapes a text as one line of a log, reversibly: a line break becomes `\n`.
pub fn event(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut shown, char| {
        if is_unsafe(char) {
            shown.extend(char.escape_default())
        } else {
            shown.push(char)
        }
        shown
    }))
}

/// Splits a text at line feeds and escapes each line as [`line()`] does.
pub fn lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.trim_end_matches('\n').split('\n').map(|part| line(part.strip_suffix('\r').unwrap_or(part)))
}

/// Escapes a text and indents its lines after the first, so that none of them looks like another message.
pub fn block(text: &str, indentation: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, line) in lines(text).enumerate() {
        if at > 0 {
            shown.push('\n');
            shown.push_str(indentation);
        }
        shown.push_str(&line);
    }
    shown
}

/// Escapes the same characters in JSON text as `\uXXXX`, which has the same meaning to a program and none to a terminal.
///
/// Raw line feeds, tabs and carriage returns occur only between tokens, because JSON strings escape them.
pub fn json(text: &str) -> Cow<'_, str> {
    let outside = |char: char| is_unsafe(char) && char != '\n';
    if !text.chars().any(outside) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if matches!(char, '\t' | '\r') {
            shown.push(' ');
        } else if outside(char) {
            // All of them are in the basic multilingual plane, so one UTF-16 unit encodes each.
            let _ = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mislead_is_shown() {
        assert_eq!(line("plain ß 漢 🎈"), "plain ß 漢 🎈");
        assert_eq!(line("a\x1b[2Jb\nc\td\r\ne\rf\n"), "a\\u{1b}[2Jb c d e\\rf");
        assert_eq!(event("a\x1b[2Jb\nc\td"), "a\\u{1b}[2Jb\\nc\\td");
        assert_eq!(block("a\nb\x07\n", "  "), "a\n  b\\u{7}");
        assert_eq!(line("\u{9b}31m\u{202e}x\u{2066}\u{7f}"), "\\u{9b}31m\\u{202e}x\\u{2066}\\u{7f}");
        assert_eq!(lines("a\r\nb\x07\n").collect::<Vec<_>>(), ["a", "b\\u{7}"]);
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({"a\u{202e}": "x\x1b\u{9b}\n\u{7f}", "b": [1, null]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(shown.chars().all(|char| char == '\n' || !is_unsafe(char)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        let spaced = json("{\r\n\t\"a\": 1}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&spaced).unwrap(), serde_json::json!({"a": 1}));
    }
}
