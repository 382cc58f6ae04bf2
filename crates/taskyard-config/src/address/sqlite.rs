//! Addresses of SQLite files: `sqlite:queue.db`, `sqlite:///absolute/queue.db`, `sqlite://queue.db?mode=rwc`, a plain
//! path.
//!
//! Slashes, `%XX` and parameters are interpreted as sqlx does. Parameters that would require anything other than a file
//! for reading and writing are refused, and so is a database in memory, which only one connection could access. A plain
//! path is the file's name as it is: nothing in it is an escape or a parameter.

use std::path::{Path, PathBuf};

use taskyard_core::{Error, Result};

/// Reason for refusing a database in memory.
const IN_MEMORY: &str = "an SQLite database in memory is visible to one connection only, and a queue is shared by the processes that add \
                         and run tasks: name a file, for example sqlite:queue.db";

/// An SQLite file, and how it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqliteAddress {
    pub path: PathBuf,
    /// Whether the address requires the file to exist (`mode=rw`).
    must_exist: bool,
    /// Whether the address begins with `sqlite:///`, as SQLAlchemy writes a file of the working directory.
    has_three_slashes: bool,
}

impl SqliteAddress {
    /// Parses an address with the scheme `sqlite`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for an invalid path, a parameter that is not supported, or a database in memory.
    pub fn parse(address: &str) -> Result<Self> {
        let rest = &address["sqlite:".len()..];
        let has_three_slashes = rest.starts_with("///") && !rest.starts_with("////");
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decoded(path).ok_or_else(|| {
            invalid("in its path, a `%` is not followed by two hexadecimal digits, or they are not UTF-8 (write a `%` as %25)")
        })?;
        if is_in_memory(&path) {
            return Err(invalid(IN_MEMORY));
        }
        let mut must_exist = false;
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("mode", "rwc") | ("cache", "private") | ("immutable", "false" | "0") => {}
                ("mode", "rw") => must_exist = true,
                ("mode", "memory") => return Err(invalid(IN_MEMORY)),
                ("mode", "ro") | ("immutable", _) => {
                    return Err(invalid(
                        "mode=ro and immutable are not supported, because a queue needs write access; write mode=rwc, or leave the parameter out",
                    ));
                }
                ("mode", _) => return Err(invalid("mode is neither rwc (a missing file is created) nor rw")),
                ("cache", _) => return Err(invalid("cache=shared is not supported; leave it out")),
                (name, _) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    return Err(Error::InvalidUrl(format!(
                        "the parameter `{name}` of an SQLite file is not supported; leave it out (mode=rwc and mode=rw are)"
                    )));
                }
                _ => return Err(invalid("its parameters cannot be read (write a `?` in the file's name as %3F)")),
            }
        }
        if path.is_empty() {
            // SQLAlchemy's `sqlite://` is a database in memory.
            return Err(invalid(if parameters.is_empty() && rest.len() + "sqlite://".len() == address.len() {
                IN_MEMORY
            } else {
                "sqlite: is not followed by a path"
            }));
        }
        // `sqlite:////a` is an absolute path as SQLAlchemy writes it; the second slash has no meaning.
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(&path);
        Ok(Self { path: path.into(), must_exist, has_three_slashes })
    }

    /// Creates the address of a plain path.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for a database in memory.
    pub fn plain(path: &str) -> Result<Self> {
        if is_in_memory(path) {
            return Err(invalid(IN_MEMORY));
        }
        Ok(Self { path: path.into(), must_exist: false, has_three_slashes: false })
    }

    /// Checks that the file exists, or may be created at its location.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for a new file at an implausible location, where the address was probably meant otherwise,
    /// and for a missing file with `mode=rw`.
    pub fn check_place(&self) -> Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let is_misplaced = directory == Path::new("/") || !directory.is_dir();
        if self.has_three_slashes && is_misplaced {
            let relative = self.path.strip_prefix("/").unwrap_or(&self.path).display();
            let why = if directory.is_dir() { "which does not exist" } else { "whose directory does not exist" };
            return Err(Error::InvalidUrl(format!(
                "after `sqlite:`, three slashes begin an absolute path, here {}, {why}; write sqlite:{relative} for a file below the \
                 working directory (to create one in `/`, give its path without `sqlite:`)",
                self.path.display()
            )));
        }
        if self.must_exist {
            return Err(Error::InvalidUrl(format!(
                "there is no file {}, and mode=rw does not create it; write mode=rwc",
                self.path.display()
            )));
        }
        Ok(())
    }
}

fn invalid(why: &str) -> Error {
    Error::InvalidUrl(why.to_owned())
}

/// Returns whether a path names a database in memory: `:memory:`, also after slashes or as SQLite's own `file:`
/// address.
fn is_in_memory(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.trim_start_matches('/');
    let name = name.strip_prefix("file:").unwrap_or(name);
    let (name, parameters) = name.split_once('?').unwrap_or((name, ""));
    name == ":memory:" || (lower.starts_with("file:") && parameters.split('&').any(|pair| pair == "mode=memory"))
}

/// Decodes `%XX`; `None` if an escape is invalid.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(if byte == b'%' { (digit()? * 16 + digit()?) as u8 } else { byte });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(address: &str) -> String {
        SqliteAddress::parse(address).unwrap().path.display().to_string()
    }

    #[test]
    fn slashes_escapes_and_parameters_are_read_as_sqlx_reads_them() {
        for (address, file) in [
            ("sqlite:q.db", "q.db"),
            ("sqlite://q.db", "q.db"),
            ("sqlite:///a/q.db", "/a/q.db"),
            ("sqlite:////a/q.db", "/a/q.db"),
            ("sqlite://q.db?mode=rwc", "q.db"),
            ("sqlite:a%20b%3F.db?mode=rw&cache=private", "a b?.db"),
        ] {
            assert_eq!(path(address), file, "{address}");
        }
    }

    #[test]
    fn what_is_not_a_writable_file_is_refused_with_what_to_write() {
        for (address, part) in [
            ("sqlite::memory:", "sqlite:queue.db"),
            ("sqlite://:memory:", "sqlite:queue.db"),
            ("sqlite:///:memory:", "sqlite:queue.db"),
            ("sqlite:///:MEMORY:", "sqlite:queue.db"),
            ("sqlite://", "sqlite:queue.db"),
            ("sqlite:q?mode=memory", "sqlite:queue.db"),
            ("sqlite:file::memory:?cache=shared", "sqlite:queue.db"),
            ("sqlite:%3Amemory%3A", "sqlite:queue.db"),
            ("sqlite:q.db?mode=ro", "mode=rwc"),
            ("sqlite:q.db?immutable=true", "mode=rwc"),
            ("sqlite:q.db?mode=x", "mode is neither"),
            ("sqlite:q.db?cache=shared", "leave it out"),
            ("sqlite:q.db?timeout=5", "`timeout`"),
            ("sqlite:a%b.db", "%25"),
            ("sqlite:a%00.db", "%25"),
            ("sqlite:?mode=rwc", "not followed by a path"),
            ("sqlite:", "not followed by a path"),
        ] {
            let error = SqliteAddress::parse(address).unwrap_err().to_string();
            assert!(error.contains(part), "{address}: {error}");
        }
        for path in [":memory:", "file::memory:", "file:q?mode=memory&cache=shared", "/:memory:"] {
            assert!(SqliteAddress::plain(path).is_err(), "{path}");
        }
        assert_eq!(SqliteAddress::plain("a%20b?.db").unwrap().path, PathBuf::from("a%20b?.db"));
    }

    #[test]
    fn a_new_file_is_made_where_it_is_meant() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("sqlite://{}/{name}", directory.path().display());
        let check = |address: &str| SqliteAddress::parse(address).unwrap().check_place();
        for address in [at("q.db"), "sqlite:missing/q.db".into(), "sqlite:////no-such-file.db".into()] {
            assert_eq!(check(&address), Ok(()), "{address}");
        }
        assert_eq!(SqliteAddress::plain("/no-such-file.db").unwrap().check_place(), Ok(()));
        for (address, part) in [
            ("sqlite:///no-such-file.db".to_owned(), "write sqlite:no-such-file.db"),
            ("sqlite:///no-such-directory/q.db".to_owned(), "write sqlite:no-such-directory/q.db"),
            (at("q.db?mode=rw"), "write mode=rwc"),
        ] {
            let error = check(&address).unwrap_err().to_string();
            assert!(error.contains(part), "{address}: {error}");
        }
        std::fs::write(directory.path().join("q.db"), "").unwrap();
        assert_eq!(check(&at("q.db?mode=rw")), Ok(()));
    }
}
