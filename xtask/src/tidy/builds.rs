//! Checks the build number of PostgreSQL's functions: the last line of `sql/builds` must be the hash of their text.
//!
//! A program replaces the functions in a database if its build is newer. Without a new line, a changed text would have the build
//! number of the previous text. `crates/taskyard-postgres/src/functions.rs` computes the same hash.

use std::fs;
use std::path::Path;

const SOURCE: &str = "crates/taskyard-postgres/src";

/// Returns a line if the functions' text differs from that of the last build.
pub fn check() -> std::io::Result<Vec<String>> {
    let source = Path::new(SOURCE);
    let builds = fs::read_to_string(source.join("sql/builds"))?;
    let mut text = String::new();
    for name in included(&fs::read_to_string(source.join("functions.rs"))?) {
        text += &fs::read_to_string(source.join(name))?;
    }
    Ok(problem(&builds, &checksum(&text)).into_iter().collect())
}

/// Returns the included SQL files in their order.
fn included(code: &str) -> Vec<&str> {
    let names = code.split("include_str!(\"").skip(1).filter_map(|rest| rest.split_once('"'));
    names.map(|(name, _)| name).filter(|name| name.ends_with(".sql")).collect()
}

fn problem(builds: &str, hash: &str) -> Option<String> {
    let plain = |line: &str| line.len() == 16 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(line) = builds.lines().find(|line| !plain(line)) {
        return Some(format!(
            "{SOURCE}/sql/builds: `{line}` is not a hash (after a merge: keep the lines of both sides)"
        ));
    }
    (builds.lines().last() != Some(hash)).then(|| {
        format!(
            "{SOURCE}/sql/builds: the functions changed: append the line {hash} (echo {hash} >> {SOURCE}/sql/builds)"
        )
    })
}

fn checksum(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_text_must_be_appended() {
        let hash = checksum("text");
        assert_eq!(problem(&format!("0123456789abcdef\n{hash}\n"), &hash), None);
        assert!(problem("0123456789abcdef\n", &hash).is_some_and(|problem| problem.contains(&hash)));
        assert!(problem(&format!("<<<<<<< a\n{hash}\n"), &hash).is_some());
        assert_eq!(included("include_str!(\"sql/a/b.sql\"), include_str!(\"sql/builds\")"), ["sql/a/b.sql"]);
    }
}
