//! The public names of the crate `taskyard` are a committed list, so that a change of the interface shows in a diff.
//!
//! The list is read from the crate's documentation, which must have been built: the items of `all.html`, and of the page of each item
//! its fields, variants and methods, without those of implemented traits.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The list, in the repository.
const LIST: &str = "crates/taskyard/public.txt";
/// The documentation.
const PAGES: &str = "target/doc/taskyard";
/// Set to write the list instead of comparing it.
const WRITE: &str = "TASKYARD_WRITE_NAMES";
/// Types of other crates that are exported again: their members are not ours to list.
const FOREIGN: [&str; 1] = ["taskyard::Timestamp"];
/// Parts of an item's page, from which on it lists what traits give.
const TRAITS: [&str; 5] = [
    "id=\"deref-methods-",
    "id=\"trait-implementations\"",
    "id=\"synthetic-implementations\"",
    "id=\"blanket-implementations\"",
    "id=\"implementors\"",
];
/// Kinds of members, as they begin the names of anchors.
const MEMBERS: [&str; 6] =
    ["method.", "tymethod.", "structfield.", "variant.", "associatedtype.", "associatedconstant."];

/// Compares the list with the documentation, or writes it.
///
/// # Errors
/// The names that were added and removed, and the command that writes the list.
pub fn check() -> Result<(), String> {
    let names = names(Path::new(PAGES))?;
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    if std::env::var_os(WRITE).is_some() {
        return fs::write(LIST, text).map_err(|error| format!("{LIST}: {error}"));
    }
    let listed = fs::read_to_string(LIST).map_err(|error| format!("{LIST}: {error}"))?;
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let changes: Vec<String> = names
        .difference(&listed)
        .map(|name| format!("+ {name}"))
        .chain(listed.difference(&names).map(|name| format!("- {name}")))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the public names of `taskyard` differ from {LIST}; if that is meant, run {WRITE}=1 cargo dev lint:\n{}",
        changes.join("\n")
    ))
}

fn names(pages: &Path) -> Result<BTreeSet<String>, String> {
    let read = |page: &Path| fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()));
    let mut names = BTreeSet::new();
    for link in read(&pages.join("all.html"))?.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let Some((kind, path)) = item(link) else { continue };
        if !FOREIGN.contains(&path.as_str()) {
            names.extend(members(&read(&pages.join(link))?).map(|member| format!("{path}::{member}")));
        }
        names.insert(format!("{path} ({kind})"));
    }
    Ok(names)
}

/// Returns the kind and the path of the item that a link of `all.html` names.
fn item(link: &str) -> Option<(&str, String)> {
    let (modules, page) = link.rsplit_once('/').unwrap_or(("", link));
    let (kind, name) = page.strip_suffix(".html")?.split_once('.')?;
    if modules.starts_with("..") {
        return None;
    }
    let modules: String =
        modules.split('/').filter(|module| !module.is_empty()).map(|module| format!("{module}::")).collect();
    Some((kind, format!("taskyard::{modules}{name}")))
}

/// Returns the fields, variants and methods of an item, by its page.
fn members(page: &str) -> impl Iterator<Item = String> {
    let end = TRAITS.iter().filter_map(|part| page.find(part)).min().unwrap_or(page.len());
    let anchors = page[..end].split("id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    anchors.filter_map(|anchor| MEMBERS.iter().find_map(|kind| anchor.strip_prefix(kind))).map(|name| {
        // A field of a variant, and a method of a further `impl` block of the same name.
        let name = name.replace(".field.", "::").replace(".fields", "");
        name.split('-').next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{item, members};

    #[test]
    fn links_name_items() {
        assert_eq!(item("struct.Taskyard.html"), Some(("struct", "taskyard::Taskyard".to_owned())));
        assert_eq!(item("layer/struct.TraceLayer.html"), Some(("struct", "taskyard::layer::TraceLayer".to_owned())));
        assert_eq!(item("../taskyard/index.html"), None);
    }

    #[test]
    fn members_are_those_before_the_traits() {
        let page = r#"<section id="variant.Over"><span id="variant.Over.field.size"><section id="method.run"><section id="method.run-1">
            <h2 id="trait-implementations"><section id="method.fmt">"#;
        assert_eq!(members(page).collect::<Vec<_>>(), ["Over", "Over::size", "run", "run"]);
    }
}
