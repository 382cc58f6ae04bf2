//! Splits Rust, Python and SQL files into code, comments, documentation and literals, for the checks that read only some of them.
//!
//! Only quotes, comments and brackets are understood, which is enough for code that compiles. Documentation is `//!` and `///` in
//! Rust, one piece a line, and in Python a string that is a statement of its own. Expressions within f-strings are literals.

use std::path::Path;

/// Whether a byte belongs to a word; all bytes of other alphabets do.
pub(super) static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte >= 128 || (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

/// Syntactic kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    Doc,
    Literal,
}

/// A piece of a file; the pieces of a file are the whole of it.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    /// Number of its first line.
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// Returns the pieces of a file in their order; `None` if its language is not one of the three.
pub(super) fn pieces<'a>(path: &Path, text: &'a str) -> Option<Vec<Piece<'a>>> {
    let next = match path.extension()?.to_str()? {
        "rs" => rust,
        "py" | "pyi" => python,
        "sql" => sql,
        _ => return None,
    };
    let (mut pieces, mut start, mut at, mut line, mut depth) = (Vec::new(), 0, 0, 1, 0_usize);
    let mut push = |kind, text: &'a str| {
        if !text.is_empty() {
            pieces.push(Piece { kind, line, text });
            line += text.bytes().filter(|byte| *byte == b'\n').count();
        }
    };
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'/' | b'\'' | b'"' | b'#' | b'-' => {
                if let Some((kind, first, end)) = next(text, at, depth) {
                    push(Kind::Code, &text[start..first]);
                    push(kind, &text[first..end]);
                    (start, at) = (end, end);
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    push(Kind::Code, &text[start..]);
    Some(pieces)
}

/// Returns the kind, the start and the end of the comment or literal whose mark stands at `at`.
fn rust(text: &str, at: usize, _: usize) -> Option<(Kind, usize, usize)> {
    let rest = &text[at..];
    match rest.as_bytes()[0] {
        b'/' if rest.starts_with("//") => {
            let is_doc = rest.starts_with("//!") || (rest.starts_with("///") && !rest.starts_with("////"));
            Some((if is_doc { Kind::Doc } else { Kind::Comment }, at, line_end(text, at)))
        }
        b'/' if rest.starts_with("/*") => Some((Kind::Comment, at, block_end(text, at))),
        b'"' => {
            let hashes = text[..at].bytes().rev().take_while(|byte| *byte == b'#').count();
            let prefix = prefix(text, at - hashes);
            let is_raw = matches!(prefix, "r" | "br" | "cr");
            let first = if is_raw { at - hashes - prefix.len() } else { at };
            let close = format!("\"{}", "#".repeat(if is_raw { hashes } else { 0 }));
            Some((Kind::Literal, first, literal_end(text, at + 1, &close, !is_raw)))
        }
        b'\'' => {
            let mut letters = rest[1..].chars();
            let (first, second) = (letters.next()?, letters.next()?);
            let is_character = first == '\\' || second == '\'';
            // Otherwise a lifetime.
            is_character.then(|| (Kind::Literal, at, literal_end(text, at + 1, "'", true)))
        }
        _ => None,
    }
}

fn python(text: &str, at: usize, depth: usize) -> Option<(Kind, usize, usize)> {
    let rest = &text[at..];
    match rest.as_bytes()[0] {
        b'#' => Some((Kind::Comment, at, line_end(text, at))),
        b'"' | b'\'' => {
            let quote = &rest[..1];
            let triple = quote.repeat(3);
            let close = if rest.starts_with(&triple) { &triple } else { quote };
            let prefix = prefix(text, at);
            let first = at - prefix.len();
            let before = text[..first].trim_end_matches([' ', '\t']);
            let is_statement = depth == 0 && (before.is_empty() || before.ends_with('\n')) && !before.ends_with("\\\n");
            let kind = if is_statement { Kind::Doc } else { Kind::Literal };
            // In a raw string, too, a quote after a backslash does not end the literal.
            Some((kind, first, literal_end(text, at + close.len(), close, true)))
        }
        _ => None,
    }
}

fn sql(text: &str, at: usize, _: usize) -> Option<(Kind, usize, usize)> {
    let rest = &text[at..];
    match rest.as_bytes()[0] {
        b'-' if rest.starts_with("--") => Some((Kind::Comment, at, line_end(text, at))),
        b'/' if rest.starts_with("/*") => Some((Kind::Comment, at, block_end(text, at))),
        // A doubled quote ends one literal and begins the next.
        b'\'' => {
            let is_escaping = prefix(text, at).eq_ignore_ascii_case("e");
            Some((Kind::Literal, at, literal_end(text, at + 1, "'", is_escaping)))
        }
        b'"' => Some((Kind::Literal, at, literal_end(text, at + 1, "\"", false))),
        _ => None,
    }
}

/// Returns the letters directly before a quote.
fn prefix(text: &str, quote: usize) -> &str {
    let length =
        text[..quote].bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').take(8).count();
    &text[quote - length..quote]
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length)
}

/// Returns the end of a block comment, which may contain others.
fn block_end(text: &str, at: usize) -> usize {
    let (bytes, mut depth, mut end) = (text.as_bytes(), 0, at);
    while end < bytes.len() {
        match bytes.get(end..end + 2) {
            Some(b"/*") => (depth, end) = (depth + 1, end + 2),
            Some(b"*/") => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end
}

/// Returns the end of a literal whose content starts at `at`.
fn literal_end(text: &str, at: usize, close: &str, is_escaping: bool) -> usize {
    let bytes = text.as_bytes();
    let mut end = at;
    while end < bytes.len() {
        if is_escaping && bytes[end] == b'\\' {
            end += 2;
        } else if bytes[end..].starts_with(close.as_bytes()) {
            return end + close.len();
        } else {
            end += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pieces of a kind, each with its line.
    fn of(kind: Kind, name: &str, text: &str) -> Vec<(usize, String)> {
        let pieces = pieces(Path::new(name), text).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.text).collect::<String>(), text);
        pieces.iter().filter(|piece| piece.kind == kind).map(|piece| (piece.line, piece.text.to_owned())).collect()
    }

    fn found(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
        expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn rust_is_split() {
        let text = "//! A \"b\n/// c\n//// d\nfn e<'a>(f: &'a str) -> char { /* g /* h */ \" */ '\"' }\nlet i = br#\"// j\"#; \"\\\" // k\n\" // l";
        assert_eq!(of(Kind::Doc, "a.rs", text), found(&[(1, "//! A \"b"), (2, "/// c")]));
        assert_eq!(of(Kind::Comment, "a.rs", text), found(&[(3, "//// d"), (4, "/* g /* h */ \" */"), (6, "// l")]));
        let literals = found(&[(4, "'\"'"), (5, "br#\"// j\"#"), (5, "\"\\\" // k\n\"")]);
        assert_eq!(of(Kind::Literal, "a.rs", text), literals);
        assert!(of(Kind::Literal, "a.rs", "&'static str").is_empty());
    }

    #[test]
    fn python_is_split() {
        let text = "\"\"\"A 'b'.\n\n# c\"\"\"\nd = r'e\\'#' # f\ng(\n    \"\"\"h\"\"\",\n)\nclass I:\n    r'''J.'''\n    k: int\n    'L.'\n";
        let docs = found(&[(1, "\"\"\"A 'b'.\n\n# c\"\"\""), (9, "r'''J.'''"), (11, "'L.'")]);
        assert_eq!(of(Kind::Doc, "a.py", text), docs);
        assert_eq!(of(Kind::Comment, "a.py", text), found(&[(4, "# f")]));
        assert_eq!(of(Kind::Literal, "a.py", text), found(&[(4, "r'e\\'#'"), (6, "\"\"\"h\"\"\"")]));
    }

    #[test]
    fn sql_is_split() {
        let text = "SELECT 'a''--b', E'\\'--', \"--c\" -- d's\n/* e */ FROM f";
        assert_eq!(of(Kind::Comment, "a.sql", text), found(&[(1, "-- d's"), (2, "/* e */")]));
        assert_eq!(of(Kind::Literal, "a.sql", text).len(), 4);
        assert!(pieces(Path::new("a.md"), "").is_none());
    }
}
