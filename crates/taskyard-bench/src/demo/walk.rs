//! Walks the regular files under a directory in a stable order. Links are not followed, and only directories are opened.
//!
//! At most the names of one directory per level are held in memory.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskyard_config::project::{DIRECTORY, plain};
use tokio::sync::mpsc;

use super::exact::Exact;

/// Names of directories that are skipped at every level: version control, build products, and Taskyard's own.
const LEFT_OUT: [&str; 4] = [".git", "target", "node_modules", DIRECTORY];
/// Files per group that is sent.
pub(super) const GROUP: usize = 2_000;
/// Directories that could not be listed and are named in the report; further ones are only counted.
const UNLISTED_MAX: usize = 1_000;

/// Directory entries other than regular files, and directories that could not be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beside {
    /// Pipes, sockets and devices.
    pub(super) skipped: u64,
    /// Links.
    pub(super) links: u64,
    /// Directories that could not be listed, each with the reason.
    pub(super) unlisted: Vec<(Exact, String)>,
    /// Number of further directories that could not be listed.
    pub(super) unlisted_more: u64,
}

/// Sends the relative paths of all regular files in groups. Blocks; ends early when the receiver is dropped.
pub(super) fn walk(root: &Path, groups: &mpsc::Sender<Vec<PathBuf>>) -> Beside {
    let mut walk = Walk { root, groups, group: Vec::with_capacity(GROUP), beside: Beside::default() };
    // Depth first with an explicit stack: recursion could overflow the thread's stack in a deep tree.
    let mut stack = vec![PathBuf::new()];
    while let Some(directory) = stack.pop() {
        match walk.list(&directory) {
            Some(mut below) => {
                below.reverse();
                stack.append(&mut below);
            }
            None => return walk.beside,
        }
    }
    walk.flush();
    walk.beside
}

struct Walk<'a> {
    root: &'a Path,
    groups: &'a mpsc::Sender<Vec<PathBuf>>,
    group: Vec<PathBuf>,
    beside: Beside,
}

impl Walk<'_> {
    /// Sends the files of a directory and returns its subdirectories; `None` when the receiver is dropped.
    fn list(&mut self, directory: &Path) -> Option<Vec<PathBuf>> {
        let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
        let listed = fs::read_dir(self.root.join(directory)).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                match entry.file_type() {
                    Ok(kind) => names.push((entry.file_name(), kind)),
                    // The entry was deleted after it was listed.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        if let Err(error) = listed {
            self.unlisted(directory, &error);
        }
        names.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let mut below = Vec::new();
        for (name, kind) in names {
            if kind.is_dir() {
                if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                    below.push(directory.join(name));
                }
            } else if kind.is_symlink() {
                self.beside.links += 1;
            } else if kind.is_file() {
                self.group.push(directory.join(name));
                if self.group.len() == GROUP && !self.flush() {
                    return None;
                }
            } else {
                self.beside.skipped += 1;
            }
        }
        Some(below)
    }

    fn unlisted(&mut self, directory: &Path, error: &std::io::Error) {
        if self.beside.unlisted.len() < UNLISTED_MAX {
            let name = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            let why = format!("the directory cannot be listed: {}", plain(error));
            self.beside.unlisted.push((Exact::from(name), why));
        } else {
            self.beside.unlisted_more += 1;
        }
    }

    fn flush(&mut self) -> bool {
        let group = std::mem::take(&mut self.group);
        group.is_empty() || self.groups.blocking_send(group).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_order_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/2", "b/1", "a", "c/.git/no", "c/target/no", "c/node_modules/no", ".taskyard/no", "z/.gitignore"]
        {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::write(root.path().join("target"), "a file of that name is a file").unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("b/loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        let (sender, mut receiver) = mpsc::channel(10);
        let beside = walk(root.path(), &sender);
        drop(sender);
        let mut found = Vec::new();
        while let Some(group) = receiver.blocking_recv() {
            found.extend(group.into_iter().map(|path| path.display().to_string()));
        }
        assert_eq!(found, ["a", "target", "b/1", "b/2", "z/.gitignore"]);
        assert_eq!((beside.skipped, beside.links, beside.unlisted.len()), (1, 1, 0));
    }
}
