//! Checks that the packages of the Python tests are pinned: every line of `requirements.txt` names one version, and every package
//! of `requirements.in` is among them.

use std::collections::BTreeSet;
use std::fs;

const WANTED: &str = "tests/python/requirements.in";
const PINNED: &str = "tests/python/requirements.txt";

/// Returns a line for each breach.
pub fn check() -> std::io::Result<Vec<String>> {
    Ok(problems(&fs::read_to_string(WANTED)?, &fs::read_to_string(PINNED)?))
}

fn problems(wanted: &str, pinned: &str) -> Vec<String> {
    let loose =
        lines(pinned).filter(|line| !is_pinned(line)).map(|line| format!("{PINNED}: `{line}` does not pin a version"));
    let pinned: BTreeSet<String> = lines(pinned).map(name).collect();
    let missing = lines(wanted)
        .map(name)
        .filter(|name| !pinned.contains(name))
        .map(|name| format!("{PINNED}: `{name}` of {WANTED} is not pinned"));
    loose.chain(missing).collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}

fn is_pinned(line: &str) -> bool {
    let requirement = line.split(';').next().unwrap_or_default().trim();
    requirement.split_once("==").is_some_and(|(_, version)| !version.is_empty() && !version.contains(['*', ',', ' ']))
}

/// Returns a package's name, normalised as the registry compares names.
fn name(line: &str) -> String {
    let end =
        line.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter))).unwrap_or(line.len());
    line[..end].to_ascii_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_one_version() {
        let wanted = "# why\nPsycopg[binary]>=3.2\npytest_x>=1\n";
        assert!(problems(wanted, "psycopg==3.3.9\npytest-x==1; python_version < \"3.11\"\nmore==2\n").is_empty());
        assert_eq!(problems(wanted, "psycopg==3.3.9\n").len(), 1);
        assert_eq!(problems("", "a>=1\nb==1.*\nc\n").len(), 3);
    }
}
