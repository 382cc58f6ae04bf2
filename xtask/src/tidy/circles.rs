//! Checks that the files of a crate do not import each other in circles: a file of a circle cannot be understood, moved or tested
//! without all the others.
//!
//! `imports.rs` reads the imports. A module and its child are one subject: imports between them do not count, and a module with its
//! children, or the children alone, may form a circle. So may up to [`FILES_MAX`] files of any subjects. `circles.txt` lists the files
//! of the larger circles that are older than this rule; these may shrink, and not grow.

use std::collections::BTreeSet;

use super::File;
use super::imports::{Graph, graph, source};

const LIST: &str = "xtask/src/tidy/circles.txt";
const FILES_MAX: usize = 3;

/// Returns a line for each file that is in a circle and not listed, and for each that is listed and in none.
pub fn check(files: &[File]) -> Vec<String> {
    let sources: BTreeSet<&str> = files.iter().filter_map(|file| source(&file.path)).collect();
    let circles: Vec<Graph> =
        sources.into_iter().flat_map(|source| circles(&graph(source, files))).filter(is_refused).collect();
    problems(&circles, include_str!("circles.txt"))
}

/// Returns the strongly connected components of more than one file, each with the imports within it.
fn circles(graph: &Graph) -> Vec<Graph> {
    let reached: Vec<(&String, BTreeSet<&String>)> = graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let mut circles: Vec<Graph> = Vec::new();
    for (file, from) in reached.iter().filter(|(file, from)| from.contains(file)) {
        if circles.iter().any(|circle| circle.contains_key(*file)) {
            continue;
        }
        let back = reached.iter().filter(|(other, then)| from.contains(other) && then.contains(file));
        let members: BTreeSet<&String> = back.map(|(other, _)| *other).collect();
        let imports = |member: &String| graph[member].iter().filter(|other| members.contains(other)).cloned().collect();
        circles.push(members.iter().map(|member| ((*member).clone(), imports(member))).collect());
    }
    circles
}

/// Returns the files that a file imports, directly or not.
fn reachable<'a>(graph: &'a Graph, file: &str) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = graph[file].iter().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(graph.get(file).into_iter().flatten());
        }
    }
    reached
}

/// Returns whether a circle has too many files and is not of one subject.
fn is_refused(circle: &Graph) -> bool {
    let Some(first) = circle.keys().next() else { return false };
    let stem = |file: &str| file.trim_end_matches(".rs").to_owned();
    let parent = |file: &str| file.rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned());
    // The crate's root is not a subject.
    let is_subject = |subject: &String| {
        source(&format!("{subject}/lib.rs")).is_none()
            && circle.keys().all(|file| stem(file) == *subject || parent(file) == *subject)
    };
    circle.len() > FILES_MAX && ![stem(first), parent(first)].iter().any(is_subject)
}

fn problems(circles: &[Graph], list: &str) -> Vec<String> {
    let listed =
        list.split("\n\n").map(|lines| lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')));
    let listed: Vec<BTreeSet<&str>> = listed.map(Iterator::collect).collect();
    let mut found = Vec::new();
    for circle in circles {
        // Listed circles that have grown together count as one that was there, and others that are new.
        let known = |listed: &&BTreeSet<&str>| circle.keys().filter(|file| listed.contains(file.as_str())).count();
        let listed = listed.iter().max_by_key(known);
        for (file, imports) in
            circle.iter().filter(|(file, _)| !listed.is_some_and(|listed| listed.contains(file.as_str())))
        {
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            let importing =
                circle.iter().filter(|(_, imports)| imports.contains(file)).map(|(other, _)| other.as_str());
            found.push(format!(
                "{file}: in a circle of {} files by importing {} and being imported by {}: move what they share below both",
                circle.len(),
                imports.join(", "),
                importing.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let is_gone = |file: &&&str| !circles.iter().any(|circle| circle.contains_key(**file));
    let gone = listed.iter().flatten().filter(is_gone);
    found.extend(gone.map(|file| format!("{LIST}: `{file}` is not in a circle any more: remove the line")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a graph of `FILE>FILE`.
    fn of(edges: &[&str]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges.iter().map(|edge| edge.split_once('>').unwrap()) {
            graph.entry(from.into()).or_default().insert(to.into());
            graph.entry(to.into()).or_default();
        }
        graph
    }

    #[test]
    fn circles_are_found_with_the_imports_within_them() {
        let found = circles(&of(&["a>b", "b>c", "c>a", "c>d", "d>e", "e>d", "e>f", "g>a"]));
        assert_eq!(found, [of(&["a>b", "b>c", "c>a"]), of(&["d>e", "e>d"])]);
    }

    #[test]
    fn small_circles_and_those_of_one_subject_are_allowed() {
        let ring = |files: [&str; 4]| {
            of(&[0, 1, 2, 3]
                .map(|at| format!("x/src/{}>x/src/{}", files[at], files[(at + 1) % 4]))
                .each_ref()
                .map(String::as_str))
        };
        assert!(is_refused(&ring(["a.rs", "b.rs", "c.rs", "d.rs"])));
        assert!(is_refused(&ring(["a.rs", "a/b.rs", "a/c.rs", "b.rs"])));
        assert!(is_refused(&ring(["a/b.rs", "a/c.rs", "a/d.rs", "a/b/c.rs"])));
        assert!(!is_refused(&ring(["a.rs", "a/b.rs", "a/c.rs", "a/d.rs"])));
        assert!(!is_refused(&ring(["a/b.rs", "a/c.rs", "a/d.rs", "a/e.rs"])));
        assert!(!is_refused(&of(&["x/src/a.rs>x/src/b.rs", "x/src/b.rs>x/src/c.rs", "x/src/c.rs>x/src/a.rs"])));
    }

    #[test]
    fn listed_circles_shrink_and_do_not_grow() {
        let circle = of(&["a>b", "b>c", "c>d", "d>a"]);
        let list = "# Why\n\n# One\na\nb\nc\nd\n\n# Two\ne\n";
        let found = problems(&[circle.clone(), of(&["e>e"])], list);
        assert!(found.is_empty(), "{found:?}");
        let found = problems(&[of(&["a>b", "b>c", "c>d", "d>f", "f>a"])], list);
        assert!(
            found.len() == 2
                && found[0].starts_with("f: in a circle of 5 files by importing a and being imported by d:")
        );
        assert!(found[1].contains("`e`"), "{found:?}");
        // Two of the list that have grown together.
        assert_eq!(problems(&[of(&["a>b", "b>c", "c>d", "d>e", "e>a"])], list).len(), 1);
        assert_eq!(problems(&[circle], "").len(), 4);
    }
}
