//! Limits on the sizes of a task. Exceeding one is a typed error that names the limit; nothing is truncated silently.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Maximum number of tags of a task.
pub const TAGS_MAX: usize = 100;

/// Limits in bytes, or in levels for `nesting_max`. Each is a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Encoded arguments (default 1 MiB).
    pub arguments_bytes_max: usize,
    /// Arguments after the results of parents have replaced their references (default 16 MiB).
    pub arguments_filled_bytes_max: usize,
    /// Encoded result (default 1 MiB).
    pub result_bytes_max: usize,
    /// A log line with its fields (default 64 KiB).
    pub log_line_bytes_max: usize,
    /// The whole context of a task (default 256 KiB).
    pub context_bytes_max: usize,
    /// Names: kind, name, queue, tag, unique key (default 255 bytes).
    pub name_bytes_max: usize,
    /// Levels of nested lists and maps in arguments, results and context (default 64).
    pub nesting_max: usize,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    #[serde(skip)]
    pub unlisted: crate::Unlisted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments_bytes_max: 1 << 20,
            arguments_filled_bytes_max: 16 << 20,
            result_bytes_max: 1 << 20,
            log_line_bytes_max: 64 << 10,
            context_bytes_max: 256 << 10,
            name_bytes_max: 255,
            nesting_max: 64,
            unlisted: crate::Unlisted::default(),
        }
    }
}

impl Limits {
    /// Checks a size against a limit; `setting` is the name of the limit in the settings table.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if `size` is larger than `max`.
    pub fn check_size(what: &'static str, setting: &'static str, size: usize, max: usize) -> Result<()> {
        if size > max {
            return Err(Error::OverLimit { what, setting, size, max, list_bytes: 0 });
        }
        Ok(())
    }

    /// Checks the size of JSON text against a limit. The error includes the number of bytes encoded as lists of
    /// numbers.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if the text is longer than `max`.
    pub fn check_json(what: &'static str, setting: &'static str, json: &[u8], max: usize) -> Result<()> {
        let size = json.len();
        if size > max {
            return Err(Error::OverLimit { what, setting, size, max, list_bytes: crate::payload::list_bytes(json) });
        }
        Ok(())
    }

    /// Checks the reason given for cancelling a task.
    ///
    /// # Errors
    /// [`Error::OverLimit`] if it is longer than `log_line_bytes_max`.
    pub fn check_reason(&self, reason: &str) -> Result<()> {
        Self::check_size("reason", "log_line_bytes_max", reason.len(), self.log_line_bytes_max)
    }

    /// Checks the tags of a task: each is a name, and there are at most 100.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for a tag that is too long, [`Error::InvalidArgument`] for too many tags or an invalid one.
    pub fn check_tags(&self, tags: &[String]) -> Result<()> {
        if tags.len() > TAGS_MAX {
            let why = format!("a task has at most {TAGS_MAX} of them, not {}", tags.len());
            return Err(Error::InvalidArgument { what: "tags", why });
        }
        tags.iter().try_for_each(|tag| self.check_name("tag", tag))
    }

    /// Checks a name: not empty, not too long, no control characters (which could forge log lines and tables).
    ///
    /// # Errors
    /// [`Error::OverLimit`] if it is too long, [`Error::InvalidArgument`] if it is empty or has a control character.
    pub fn check_name(&self, what: &'static str, name: &str) -> Result<()> {
        Self::check_size(what, "name_bytes_max", name.len(), self.name_bytes_max)?;
        if name.is_empty() {
            return Err(Error::InvalidArgument { what, why: "it is empty".into() });
        }
        if name.chars().any(char::is_control) {
            return Err(Error::InvalidArgument {
                what,
                why: format!("`{}` contains a control character", name.escape_debug()),
            });
        }
        Ok(())
    }
}
