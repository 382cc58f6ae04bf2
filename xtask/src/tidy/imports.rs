//! Reads which files of a crate import which others, for `circles.rs`.
//!
//! An import is a `use`, or a path that begins with `crate`, `self`, `super` or the name of a child module. A name that is re-exported
//! belongs to the file that defines it. Code for tests alone is skipped. Names are resolved without types: a path that begins with an
//! imported name counts by the `use` of that name.

use std::collections::{BTreeMap, BTreeSet};

use super::File;
use super::text::{Kind, WORD, pieces};

/// Files with the files that they import.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// A module or an item: its names from the crate's root.
type Path = Vec<String>;

/// Longest chain of re-exports.
const HOPS_MAX: usize = 8;
/// Keywords before the name of an item.
const ITEMS: [&str; 9] = ["const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union"];

/// Returns the directory of a crate's source if this is the path of the crate's root file.
pub(super) fn source(path: &str) -> Option<&str> {
    let directory = path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"))?;
    (directory == "src" || directory.ends_with("/src")).then_some(directory)
}

/// Returns the imports between the files of a crate, but for those between a module and its child.
pub(super) fn graph(source: &str, files: &[File]) -> Graph {
    let has_library = files.iter().any(|file| file.path == format!("{source}/lib.rs"));
    let files: BTreeMap<Path, &File> =
        files.iter().filter_map(|file| Some((module(&file.path, source, has_library)?, file))).collect();
    let read: BTreeMap<Path, Imports> =
        files.iter().map(|(module, file)| (module.clone(), Reader::read(file, module, &files))).collect();
    let tests: Vec<&Path> = read.values().flat_map(|imports| &imports.tests).collect();
    let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
    let is_child = |child: &[String], module: &[String]| child.split_last().is_some_and(|(_, parent)| parent == module);
    let mut graph = Graph::new();
    for (module, imports) in read.iter().filter(|(module, _)| !is_test(module)) {
        let homes = imports.paths.iter().map(|path| home(path, &read, HOPS_MAX));
        let others =
            homes.filter(|home| home != module && !is_child(home, module) && !is_child(module, home) && !is_test(home));
        graph.insert(files[module].path.clone(), others.map(|home| files[&home].path.clone()).collect());
    }
    graph
}

/// Returns the module of a file. Programs beside a library are crates of their own.
fn module(path: &str, source: &str, has_library: bool) -> Option<Path> {
    match path.strip_prefix(source)?.strip_prefix('/')?.strip_suffix(".rs")? {
        "lib" => Some(Path::new()),
        "main" => (!has_library).then(Path::new),
        inner if inner.starts_with("bin/") => None,
        inner => Some(inner.split('/').map(Into::into).collect()),
    }
}

/// Returns the module that defines what a path names.
fn home(path: &[String], read: &BTreeMap<Path, Imports>, hops: usize) -> Path {
    let length = (0..=path.len()).rev().find(|length| read.contains_key(&path[..*length])).unwrap_or_default();
    let (module, rest) = path.split_at(length);
    let (Some(imports), [name, inner @ ..]) = (read.get(module), rest) else { return module.to_vec() };
    if hops == 0 || imports.defined.contains(name) {
        return module.to_vec();
    }
    if let Some(target) = imports.names.get(name) {
        return home(&[target, inner].concat(), read, hops - 1);
    }
    let globs = imports.globs.iter().map(|target| home(target, read, hops - 1));
    let mut globs = globs.filter(|target| read.get(target).is_some_and(|imports| imports.defined.contains(name)));
    globs.next().unwrap_or_else(|| module.to_vec())
}

/// The imports of a file.
#[derive(Default)]
struct Imports {
    /// All paths in this crate.
    paths: BTreeSet<Path>,
    /// The names that the file's own module imports.
    names: BTreeMap<String, Path>,
    /// The modules of which it imports everything.
    globs: Vec<Path>,
    defined: BTreeSet<String>,
    /// Modules for tests alone, in files of their own.
    tests: Vec<Path>,
}

struct Reader<'a> {
    tokens: Vec<&'a str>,
    files: &'a BTreeMap<Path, &'a File>,
    /// The module at this place.
    here: Path,
    depth: usize,
    imports: Imports,
}

impl<'a> Reader<'a> {
    fn read(file: &'a File, module: &Path, files: &'a BTreeMap<Path, &'a File>) -> Imports {
        let pieces = pieces(file.path.as_ref(), &file.text).unwrap_or_default();
        let code = pieces.iter().filter(|piece| piece.kind == Kind::Code);
        let tokens = code.flat_map(|piece| tokens(piece.text)).collect();
        let mut reader = Reader { tokens, files, here: module.clone(), depth: 0, imports: Imports::default() };
        reader.items();
        reader.imports
    }

    fn token(&self, at: usize) -> &'a str {
        self.tokens.get(at).copied().unwrap_or_default()
    }

    fn items(&mut self) {
        // The depths at which modules within the file end.
        let (mut at, mut ends) = (0, Vec::new());
        while at < self.tokens.len() {
            match self.token(at) {
                "#" if self.is_for_tests(at) => {
                    at = self.skip(at);
                    continue;
                }
                "{" => self.depth += 1,
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if ends.pop_if(|end| *end == self.depth).is_some() {
                        self.here.pop();
                    }
                }
                "mod" if self.token(at + 2) == "{" => {
                    self.here.push(self.token(at + 1).into());
                    ends.push(self.depth);
                }
                // Not the captures of an opaque type.
                "use" if self.token(at + 1) != "<" => {
                    at = self.tree(at + 1, &[]);
                    continue;
                }
                keyword if ITEMS.contains(&keyword) && self.depth == 0 => {
                    self.imports.defined.insert(self.token(at + 1).into());
                }
                "macro_rules" => {
                    self.imports.defined.insert(self.token(at + 2).into());
                }
                // `pub(in crate::a)` says who may import.
                "in" if at > 0 && self.token(at - 1) == "(" => {
                    while !["", ")"].contains(&self.token(at)) {
                        at += 1;
                    }
                }
                first if self.token(at + 1) == "::" && is_word(first) => {
                    let mut path = vec![first];
                    while self.token(at + 1) == "::" && is_word(self.token(at + 2)) {
                        path.push(self.token(at + 2));
                        at += 2;
                    }
                    self.imports.paths.extend(self.absolute(&path));
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Records the imports of a tree and returns the place after it.
    fn tree(&mut self, mut at: usize, prefix: &[&'a str]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match self.token(at) {
                "{" => {
                    at += 1;
                    while !["", "}"].contains(&self.token(at)) {
                        at = self.tree(at, &path);
                        at += usize::from(self.token(at) == ",");
                    }
                    return at + 1;
                }
                "*" => {
                    let target = self.absolute(&path);
                    self.imports.paths.extend(target.clone());
                    self.imports.globs.extend(target.filter(|_| self.depth == 0));
                    return at + 1;
                }
                "::" if path.is_empty() => path.push("::"),
                name => path.push(name),
            }
            at += 1;
            if self.token(at) == "::" {
                at += 1;
                continue;
            }
            if path.last() == Some(&"self") && path.len() > 1 {
                path.pop();
            }
            let mut name = path.last().copied().unwrap_or_default();
            if self.token(at) == "as" {
                (name, at) = (self.token(at + 1), at + 2);
            }
            if let Some(target) = self.absolute(&path) {
                self.imports.paths.insert(target.clone());
                if self.depth == 0 {
                    self.imports.names.insert(name.into(), target);
                }
            }
            return at;
        }
    }

    /// Returns a path from the crate's root; `None` if it begins in another crate or with a local name.
    fn absolute(&self, path: &[&str]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let mut absolute = if *first == "crate" { Path::new() } else { self.here.clone() };
        match *first {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => {
                absolute.push(name.into());
                if !self.files.contains_key(&absolute) {
                    return None;
                }
            }
        }
        for name in rest {
            if *name == "super" {
                absolute.pop();
            } else {
                absolute.push((*name).into());
            }
        }
        Some(absolute)
    }

    /// Returns whether the attribute at this place is `cfg(test)` or `cfg(all(test, …))`.
    fn is_for_tests(&self, at: usize) -> bool {
        let attribute: Vec<&str> = (at..at + 7).map(|at| self.token(at)).collect();
        attribute.starts_with(&["#", "[", "cfg", "(", "test", ")"])
            || attribute == ["#", "[", "cfg", "(", "all", "(", "test"]
    }

    /// Returns the place after an item with its attributes, and records a module in a file of its own as one for tests.
    fn skip(&mut self, mut at: usize) -> usize {
        while self.token(at) == "#" {
            at = self.after_brackets(at + 1);
        }
        let mut is_item = false;
        loop {
            match self.token(at) {
                "mod" if self.token(at + 2) == ";" => {
                    self.imports.tests.push([self.here.as_slice(), &[self.token(at + 1).to_owned()]].concat());
                    return at + 3;
                }
                "" | "}" | ")" | "]" => return at,
                ";" => return at + 1,
                // A field or a variant ends here.
                "," if !is_item => return at + 1,
                "{" => return self.after_brackets(at),
                "(" | "[" => at = self.after_brackets(at),
                token => {
                    is_item |= ITEMS.contains(&token) || ["impl", "use"].contains(&token);
                    at += 1;
                }
            }
        }
    }

    /// Returns the place after the bracket that closes the one at this place.
    fn after_brackets(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        loop {
            match self.token(at) {
                "" => return at,
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 {
                return at;
            }
        }
    }
}

/// Returns the words, `::`, and all other characters but white space.
fn tokens(code: &str) -> Vec<&str> {
    let (bytes, mut at, mut tokens) = (code.as_bytes(), 0, Vec::new());
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && WORD[bytes[at] as usize] {
            at += 1;
        }
        if at == start {
            at += if bytes[at..].starts_with(b"::") { 2 } else { 1 };
        }
        if !bytes[start].is_ascii_whitespace() {
            tokens.push(&code[start..at]);
        }
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.bytes().next().is_some_and(|byte| WORD[byte as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the edges of a crate as `FILE>FILE`, without the directory and the extension.
    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(name, text)| File { path: format!("a/src/{name}.rs"), text: (*text).to_owned() })
            .collect();
        let short = |path: &str| path.trim_start_matches("a/src/").trim_end_matches(".rs").to_owned();
        let graph = graph("a/src", &files);
        graph.iter().flat_map(|(from, to)| to.iter().map(move |to| format!("{}>{}", short(from), short(to)))).collect()
    }

    #[test]
    fn imports_are_read_from_uses_and_paths() {
        let one = "use std::a; use crate::{two::{self, B as C}, three::*};\nfn a() { crate::four::d(); \"crate::five::e\"; } // crate::five::e";
        let files = [("lib", "mod one;"), ("one", one), ("two", ""), ("three", ""), ("four", ""), ("five", "")];
        assert_eq!(edges(&files), ["one>four", "one>three", "one>two"]);
        let inner =
            "mod x { use super::super::two::A; fn b() -> impl C + use<'_> { super::super::super::three::d() } }";
        let files = [("one/inner", inner), ("one", ""), ("one/two", ""), ("two", ""), ("three", ""), ("lib", "")];
        assert_eq!(edges(&files), ["one/inner>one/two", "one/inner>three"]);
        assert!(edges(&[("one", "use ::two::A; pub(in crate::two) struct B; fn two() {}"), ("two", "")]).is_empty());
    }

    #[test]
    fn re_exported_names_belong_to_their_file() {
        let files = [
            ("lib", "mod one; pub use one::A; use two::*; struct D;"),
            ("one", "mod inner; pub use self::inner::A;"),
            ("one/inner", "pub struct A;"),
            ("two", "pub(crate) fn b() {}"),
            ("three", "use crate::{A, D}; fn c() { crate::b() }"),
        ];
        // `D` is in the root, the parent.
        assert_eq!(edges(&files), ["lib>one/inner", "three>one/inner", "three>two"]);
    }

    #[test]
    fn parents_and_their_children_are_one_subject() {
        let files = [("lib", "mod one;"), ("one", "mod two; use two::A;"), ("one/two", "use super::B; use crate::C;")];
        assert_eq!(edges(&files), ["one/two>lib"]);
    }

    #[test]
    fn code_for_tests_is_skipped() {
        let one = "#[cfg(test)]\n#[path = \"x\"]\nmod tests { use crate::two::A; }\n#[cfg(all(test, unix))] mod more;\n
            #[cfg(test)] pub(crate) fn b(c: [u8; 2]) -> crate::two::A { crate::two::A }\n
            enum C { #[cfg(test)] D(crate::two::A), E(crate::three::A) }";
        let files =
            [("one", one), ("one/more", "use crate::two::A;"), ("two", "use crate::one::more::A;"), ("three", "")];
        assert_eq!(edges(&files), ["one>three"]);
    }

    #[test]
    fn programs_beside_a_library_are_not_part_of_it() {
        assert_eq!(source("a/src/lib.rs"), Some("a/src"));
        assert_eq!(
            (source("src/main.rs"), source("a/tests/e2e/main.rs"), source("a/src/b/lib.rs")),
            (Some("src"), None, None)
        );
        assert_eq!(module("a/src/b/c.rs", "a/src", true), Some(vec!["b".into(), "c".into()]));
        assert_eq!(module("a/src/main.rs", "a/src", false), Some(Path::new()));
        assert!(
            ["a/src/main.rs", "a/src/bin/b.rs", "ab/src/c.rs"].iter().all(|path| module(path, "a/src", true).is_none())
        );
    }
}
