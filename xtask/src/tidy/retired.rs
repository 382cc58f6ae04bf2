//! Checks that no retired identifier comes back: `retired.txt` lists names of a private vocabulary that were replaced by standard
//! words (ARCHITECTURE.md has the glossary).
//!
//! An identifier is refused in the text and in the path of every tracked file where it stands as a whole word, however long the
//! path before or after it is: `a::b` is found in `c::a::b()`. The list itself is excepted, and so are the change log and applied
//! migrations, which record what was.

use super::File;
use super::text::WORD;

const LIST: &str = "xtask/src/tidy/retired.txt";

/// Returns a line for each occurrence.
pub fn check(files: &[File]) -> Vec<String> {
    let list = List::new(include_str!("retired.txt"));
    files
        .iter()
        .filter(|file| !is_record(&file.path))
        .flat_map(|file| problems(&list, &file.path, &file.text))
        .collect()
}

/// Returns whether a file records the past.
fn is_record(path: &str) -> bool {
    path == LIST || path == "CHANGELOG.md" || path.contains("/migrations/")
}

fn problems(list: &List, path: &str, text: &str) -> Vec<String> {
    let in_path =
        list.found(path).into_iter().map(|(_, name)| format!("{path}: `{name}` in the path is retired: see {LIST}"));
    let in_text = list.found(text).into_iter().map(|(at, name)| {
        let line = 1 + text[..at].bytes().filter(|byte| *byte == b'\n').count();
        format!("{path}:{line}: `{name}` is retired: write the glossary's word (or remove the line of {LIST})")
    });
    in_path.chain(in_text).collect()
}

/// The names by their first byte.
struct List<'a>([Vec<&'a str>; 256]);

impl<'a> List<'a> {
    fn new(names: &'a str) -> Self {
        let mut list = Self(std::array::from_fn(|_| Vec::new()));
        for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
            list.0[usize::from(name.as_bytes()[0])].push(name);
        }
        list
    }

    /// Returns the listed names in a text, each with its offset. A plain loop, because this runs unoptimised over all files.
    fn found(&self, text: &str) -> Vec<(usize, &'a str)> {
        let (bytes, mut at, mut found) = (text.as_bytes(), 0, Vec::new());
        while at < bytes.len() {
            if WORD[bytes[at] as usize] {
                for name in &self.0[bytes[at] as usize] {
                    let end = at + name.len();
                    let is_whole = !bytes.get(end).is_some_and(|byte| WORD[*byte as usize]);
                    if is_whole && bytes[at..].starts_with(name.as_bytes()) {
                        found.push((at, *name));
                    }
                }
                while at < bytes.len() && WORD[bytes[at] as usize] {
                    at += 1;
                }
            }
            at += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_found_with_their_line() {
        let list = List::new("Gone\nold::gone\n_gone.away\n");
        let found = problems(
            &list,
            "a.rs",
            "Gone\nGoner, not_Gone, a::old::gone::b,\nxold::gone, old::gone_too\nx._gone.away()\n",
        );
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("a.rs:1: `Gone`")
                && found[1].starts_with("a.rs:2:")
                && found[2].starts_with("a.rs:4:")
        );
        assert_eq!(problems(&list, "a/_gone.away/b.py", "").len(), 1);
        assert!(problems(&list, "a.rs", "éGone").is_empty());
    }

    #[test]
    fn the_list_is_sorted_and_records_may_name_the_past() {
        let names: Vec<&str> = include_str!("retired.txt").lines().collect();
        assert!(names.is_sorted() && names.iter().all(|name| !name.trim().is_empty()));
        assert!(is_record(LIST) && is_record("CHANGELOG.md") && is_record("crates/a/src/migrations/1.sql"));
        assert!(!is_record("crates/a/src/migrate.rs"));
    }
}
