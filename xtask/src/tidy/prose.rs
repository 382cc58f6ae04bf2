//! Checks what can be told of the language without false alarms in comments, documentation and documents.
//!
//! - The documentation of an item begins with what the item is or does, not with [`BEGINNINGS`].
//! - A program is named as what it is (a client, a server, a process), not by [`PERSONS`].
//! - A section `# Errors` names the variants.
//! - Nothing refers to a text that is not in the repository ([`ABSENT`], [`ABSENT_AT_END`]).
//!
//! Literals, names of tests and text in backticks are not prose. Applied migrations and the functions of PostgreSQL, whose text has
//! a build number, are not read.

use super::File;
use super::text::{Kind, Piece, pieces};

/// First words of documentation that put something before its subject.
const BEGINNINGS: [&str; 10] =
    ["What", "Whatever", "Whoever", "Who", "Whose", "It", "Its", "The same", "One who", "How"];
const PERSONS: [&str; 4] = ["whoever", "nobody", "somebody", "someone"];
const VAGUE_ERRORS: &str = "The database's.";
const FUNCTIONS: &str = "crates/taskyard-postgres/src/functions.rs";

/// Words for a text that readers of the repository do not have. `the issue` alone may be a newsletter's.
const ABSENT: [&str; 6] =
    ["the spec", "spec section", "the issue says", "the issue asks", "the issue wants", "the issue demands"];
/// More of these, unless another word follows (`in the original order`).
const ABSENT_AT_END: [&str; 2] = ["in the original", "like the original"];

/// Returns a line for each breach.
pub fn check(files: &[File]) -> Vec<String> {
    let functions = files.iter().find(|file| file.path == FUNCTIONS).map_or("", |file| &file.text);
    files.iter().filter(|file| !is_fixed(&file.path, functions)).flat_map(problems).collect()
}

/// Returns whether a file is an applied migration, or a function of PostgreSQL.
fn is_fixed(path: &str, functions: &str) -> bool {
    let name = path.strip_prefix("crates/taskyard-postgres/src/");
    path.ends_with(".sql") && (path.contains("/migrations/") || name.is_some_and(|name| functions.contains(name)))
}

fn problems(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if file.path.ends_with(".md") && file.path != "CHANGELOG.md" {
        for (at, line) in file.text.lines().enumerate() {
            found.extend(absent(&plain(line)).map(|what| (at + 1, what)));
        }
    }
    let pieces = pieces(file.path.as_ref(), &file.text).unwrap_or_default();
    for piece in pieces.iter().filter(|piece| matches!(piece.kind, Kind::Comment | Kind::Doc)) {
        // Most have none of the words.
        let lower = piece.text.to_lowercase();
        if !PERSONS.iter().chain(&ABSENT).chain(&ABSENT_AT_END).any(|words| lower.contains(words)) {
            continue;
        }
        for (at, line) in piece.text.lines().enumerate() {
            let line = plain(line);
            let persons = PERSONS.into_iter().filter(|person| !after(&line, person).is_empty());
            found.extend(
                persons.map(|person| (piece.line + at, format!("`{person}`: name the client, server or process"))),
            );
            found.extend(absent(&line).map(|what| (piece.line + at, what)));
        }
    }
    for block in blocks(&pieces) {
        found.extend(documentation(&block));
    }
    found.into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.path)).collect()
}

/// Returns the lines of each documentation without their marks.
fn blocks<'a>(pieces: &[Piece<'a>]) -> Vec<Vec<(usize, &'a str)>> {
    let mut blocks: Vec<Vec<(usize, &str)>> = Vec::new();
    let mut mark = "";
    for piece in pieces.iter().filter(|piece| piece.kind == Kind::Doc) {
        let lines = piece.text.lines().enumerate();
        let lines =
            lines.map(|(at, line)| (piece.line + at, line.trim_start_matches(['/', '!', 'r', '"', '\'']).trim()));
        let continues = blocks.last().and_then(|block| block.last()).is_some_and(|(line, _)| line + 1 == piece.line);
        // In Rust a piece is a line; in Python it is the whole.
        match blocks.last_mut() {
            Some(block) if continues && piece.text.starts_with("//") && piece.text.starts_with(mark) => {
                block.extend(lines)
            }
            _ => blocks.push(lines.collect()),
        }
        mark = piece.text.get(..3).unwrap_or_default();
    }
    blocks
}

/// Returns the breaches of one documentation, each with its line.
fn documentation(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let Some(&(first, text)) = lines.first() else { return Vec::new() };
    let beginnings = BEGINNINGS.into_iter().filter(|words| {
        text.strip_prefix(words)
            .is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
    });
    let mut found: Vec<_> = beginnings
        .map(|words| (first, format!("documentation begins with `{words}`: begin with what the item is or does")))
        .collect();
    for (at, &(line, _)) in lines.iter().enumerate().filter(|(_, (_, text))| *text == "# Errors") {
        let section = lines[at + 1..].iter().map(|(_, text)| *text).take_while(|text| !text.starts_with("# "));
        if section.filter(|text| !text.is_empty()).eq([VAGUE_ERRORS]) {
            found.push((line, "`# Errors` names no variant: say which and when".into()));
        }
    }
    found
}

/// Returns a message for each reference to an absent text in a line.
fn absent(line: &str) -> impl Iterator<Item = String> {
    let is_end = |rest: &&str| !rest.trim_start_matches(' ').starts_with(char::is_alphanumeric);
    let anywhere = ABSENT.into_iter().filter(|words| !after(line, words).is_empty());
    let at_end = ABSENT_AT_END.into_iter().filter(move |words| after(line, words).iter().any(is_end));
    anywhere
        .chain(at_end)
        .map(|words| format!("`{words}`: a text that is not in the repository; say here what it says"))
}

/// Returns a line in lower case without what stands in backticks.
fn plain(line: &str) -> String {
    let line = line.replace("``", "`");
    line.split('`').step_by(2).collect::<Vec<_>>().join("`").to_lowercase()
}

/// Returns the rest of the line after each occurrence of whole words.
fn after<'a>(line: &'a str, words: &str) -> Vec<&'a str> {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let found = line.match_indices(words).map(|(at, _)| (&line[..at], &line[at + words.len()..]));
    found
        .filter(|(before, rest)| !before.ends_with(is_letter) && !rest.starts_with(is_letter))
        .map(|(_, rest)| rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines with a breach.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.into(), text: text.into() };
        let place = |problem: &String| problem.split(':').nth(1).and_then(|line| line.parse().ok()).unwrap();
        problems(&file).iter().map(place).collect()
    }

    #[test]
    fn beginnings_of_documentation_are_found() {
        let rust = "//! What a file owns.\n\n/// Its name,\n/// How it is\n/// shown.\n// It is fine.\n/// Items.\n/// The same.\nlet a = \"/// It\";";
        assert_eq!(lines("a.rs", rust), [1, 3]);
        assert_eq!(lines("a.rs", "//! Items.\n/// Whose\nfn it_is_who() {}\n/// The sameness.\n/// `It`.\n"), [2]);
        let python = "\"\"\"How one\nWho.\"\"\"\ndef a() -> None:\n    \"\"\"Whoever\"\"\"\n    b = \"\"\"It\"\"\"\n";
        assert_eq!(lines("a.py", python), [4, 1, 4]);
    }

    #[test]
    fn persons_are_found() {
        let rust =
            "// for Nobody\nfn nobody() { f(\"someone\") } // `somebody`, ``nobody``, nobody_knows\n/* a\nsomeone */\n";
        assert_eq!(lines("a.rs", rust), [1, 4]);
        assert_eq!(lines("a.sql", "-- whoever\nSELECT 'nobody'\n"), [1]);
        assert!(lines("README.md", "nobody\n").is_empty());
        assert!(is_fixed("crates/taskyard-postgres/src/sql/a.sql", "include_str!(\"sql/a.sql\")"));
        assert!(!is_fixed("crates/taskyard-postgres/src/sql/b.sql", "include_str!(\"sql/a.sql\")"));
    }

    #[test]
    fn errors_name_their_variants() {
        let vague = format!("/// Reads.\n///\n/// # Errors\n/// {VAGUE_ERRORS}\nfn a() {{}}\n");
        assert_eq!(lines("a.rs", &vague), [3]);
        assert_eq!(lines("a.rs", &vague.replace("\nfn", "\n///\n/// # Examples\n/// a\nfn")), [3]);
        assert!(lines("a.rs", &vague.replace("\nfn", "\n/// `Error::NotFound`.\nfn")).is_empty());
    }

    #[test]
    fn references_to_absent_texts_are_found() {
        let text = "as in the original,\nin the original order, by the specification,\nThe spec's\nthe issue asks\n";
        assert_eq!(lines("docs/a.md", text), [1, 3, 4]);
        assert_eq!(lines("a.py", "# the issue says\n# the issues, the issue\nraise Error(\"the spec\")\n"), [1]);
        assert!(lines("docs/a.md", "report the issue").is_empty() && lines("CHANGELOG.md", "the spec").is_empty());
    }
}
