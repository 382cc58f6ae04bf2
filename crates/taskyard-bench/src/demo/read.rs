//! Reads a file in chunks and computes SHA-256, size, lines and size under gzip.
//!
//! The file is opened without following a link and without blocking on a pipe, and only a regular file is read. A file that
//! changes while it is read is refused, because its figures would describe no version of it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use taskyard_config::project::plain;

/// Most bytes per read.
const CHUNK_BYTES: usize = 256 << 10;

/// The figures of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) gzip_bytes: u64,
}

/// Why a file could not be measured.
#[derive(Debug)]
pub(super) enum Problem {
    /// The file does not exist any more.
    Gone,
    /// The path is a link or not a regular file.
    NotRegular,
    /// The file cannot be opened.
    Closed(io::Error),
    /// The file was written to while it was read.
    Changed,
    /// Reading failed.
    Broken(io::Error),
    /// The caller ended the reading.
    Interrupted,
}

impl Problem {
    /// Returns the error type of the task's failure, also used by retry policies.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Gone => "FileGone",
            Self::NotRegular => "NotARegularFile",
            Self::Closed(_) => "FileCannotBeOpened",
            Self::Changed => "FileChanged",
            Self::Broken(_) => "FileCannotBeRead",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Returns whether another attempt may succeed.
    pub(super) const fn is_worth_a_retry(&self) -> bool {
        matches!(self, Self::Changed | Self::Broken(_))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("the file is gone"),
            Self::NotRegular => f.write_str("it is not a regular file any more"),
            Self::Closed(error) => write!(f, "cannot be opened: {}", plain(error)),
            Self::Changed => f.write_str("the file changed while it was read"),
            Self::Broken(error) => write!(f, "cannot be read: {}", plain(error)),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Reads a file. `step` is called before each read with the bytes read so far and the size, and ends the reading by returning
/// `false`.
pub(super) fn measure(path: &Path, mut step: impl FnMut(u64, u64) -> bool) -> Result<Measured, Problem> {
    let mut file = open(path)?;
    let before = file.metadata().map_err(Problem::Broken)?;
    if !before.is_file() {
        return Err(Problem::NotRegular);
    }
    let size = before.size();
    let mut digest = Sha256::new();
    let mut gzip = GzEncoder::new(Count(0), Compression::default());
    let (mut bytes, mut lines) = (0_u64, 0_u64);
    // One byte more than the size of a small file, so that the second read finds its end.
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1).clamp(4_096, CHUNK_BYTES);
    let mut chunk = vec![0; room];
    loop {
        if !step(bytes, size) {
            return Err(Problem::Interrupted);
        }
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Problem::Broken(error)),
        };
        let part = &chunk[..count];
        digest.update(part);
        lines += memchr::memchr_iter(b'\n', part).count() as u64;
        gzip.write_all(part).map_err(Problem::Broken)?;
        bytes += count as u64;
    }
    let after = file.metadata().map_err(Problem::Broken)?;
    // Files in /proc report size 0.
    if stamp(&before) != stamp(&after) || (bytes != size && size != 0) {
        return Err(Problem::Changed);
    }
    let Count(gzip_bytes) = gzip.finish().map_err(Problem::Broken)?;
    Ok(Measured { sha256: hex(&digest.finalize()), bytes, lines, gzip_bytes })
}

fn open(path: &Path) -> Result<File, Problem> {
    // Opening a device can have side effects, so the file type is checked first.
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Problem::NotRegular),
        Err(error) => return Err(opening(error)),
    }
    // The file may be replaced between check and opening: do not follow a link, and do not block on a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(opening)
}

fn opening(error: io::Error) -> Problem {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Problem::Gone,
        Some(libc::ELOOP | libc::ENXIO) => Problem::NotRegular,
        _ => Problem::Closed(error),
    }
}

/// Returns the metadata that change when a file is written to.
fn stamp(found: &Metadata) -> (u64, i64, i64, i64, i64) {
    (found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
}

/// Formats bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A writer that only counts bytes.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(content: &[u8]) -> Measured {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, content).unwrap();
        measure(&path, |_, _| true).unwrap()
    }

    #[test]
    fn figures_of_known_contents() {
        let empty = measured(b"");
        assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!((empty.bytes, empty.lines), (0, 0));
        let abc = measured(b"abc");
        assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((abc.bytes, abc.lines), (3, 0));
        let large = measured(&b"0123456789abcde\n".repeat(100_000));
        assert_eq!((large.bytes, large.lines), (1_600_000, 100_000));
        assert!(large.gzip_bytes > 20 && large.gzip_bytes < 20_000, "{}", large.gzip_bytes);
    }

    #[test]
    fn what_is_not_a_stable_regular_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), b"x".repeat(1 << 20)).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert!(matches!(measure(&at("none"), |_, _| true), Err(Problem::Gone)));
        assert!(matches!(measure(&at("link"), |_, _| true), Err(Problem::NotRegular)));
        assert!(matches!(measure(directory.path(), |_, _| true), Err(Problem::NotRegular)));
        assert!(matches!(measure(&at("file"), |read, _| read == 0), Err(Problem::Interrupted)));
        let mut once = Some(());
        let changed = measure(&at("file"), |read, _| {
            if read > 0 && once.take().is_some() {
                std::fs::OpenOptions::new().append(true).open(at("file")).unwrap().write_all(b"more").unwrap();
            }
            true
        });
        assert!(matches!(changed, Err(Problem::Changed)), "{changed:?}");
    }
}
