//! Task ids on the command line: a whole id, or a prefix that only one task's id has.

use std::str::FromStr;

use taskyard::{Error, Store, TaskId};
use taskyard_core::store::TaskFilter;
use taskyard_terminal::Failure;
use uuid::Uuid;

/// Hexadecimal digits of a whole id.
const DIGITS: usize = 32;
/// Tasks that are listed if a prefix is ambiguous.
const CANDIDATES_MAX: usize = 5;

/// An id on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenId {
    Whole(TaskId),
    /// The first hexadecimal digits, in lower case.
    Prefix(String),
}

impl FromStr for GivenId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(id) = text.parse() {
            return Ok(Self::Whole(id));
        }
        let digits = text.replace('-', "").to_ascii_lowercase();
        // The dashes of a whole id are after 8, 12, 16 and 20 digits.
        let dashes_fit = text.match_indices('-').all(|(at, _)| [8, 13, 18, 23].contains(&at));
        let is_prefix = !digits.is_empty()
            && digits.len() < DIGITS
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            && dashes_fit;
        if is_prefix { Ok(Self::Prefix(digits)) } else { Err("expected a task's id or its first digits".into()) }
    }
}

impl GivenId {
    /// Returns the task's id. A whole id is returned without reading the database.
    ///
    /// # Errors
    /// A failure with exit code 4 if no task has an id with this prefix, with exit code 2 if several have; [`Error`] if the database
    /// cannot be read.
    pub(crate) async fn find(&self, store: &dyn Store) -> Result<TaskId, Failure> {
        let digits = match self {
            Self::Whole(id) => return Ok(*id),
            Self::Prefix(digits) => digits,
        };
        let filled = |with: &str| {
            let digits = format!("{digits}{}", with.repeat(DIGITS - digits.len()));
            u128::from_str_radix(&digits, 16).map_err(|error| Failure::usage(error.to_string()))
        };
        let (first, last) = (filled("0")?, filled("f")?);
        let after = first.checked_sub(1).map(|id| TaskId::from(Uuid::from_u128(id)));
        let found = store.select(&TaskFilter::default(), after, CANDIDATES_MAX + 1).await?;
        let fits: Vec<TaskId> = found.into_iter().filter(|id| id.0.as_u128() <= last).collect();
        match fits[..] {
            [] => Err(Failure::usage(format!("there is no task whose id begins with {digits}"))
                .with_exit(4)
                .with_hint("`taskyard task list` shows the tasks")),
            [id] => Ok(id),
            _ => Err(several(store, digits, &fits).await?),
        }
    }
}

/// Returns the ids of the given tasks in the order in which they were given.
///
/// # Errors
/// The first error of [`GivenId::find`]; no task is changed before all are found.
pub(crate) async fn find_all(store: &dyn Store, given: &[GivenId]) -> Result<Vec<TaskId>, Failure> {
    let mut ids = Vec::with_capacity(given.len());
    for one in given {
        ids.push(one.find(store).await?);
    }
    Ok(ids)
}

async fn several(store: &dyn Store, digits: &str, fits: &[TaskId]) -> Result<Failure, Error> {
    let shown = &fits[..fits.len().min(CANDIDATES_MAX)];
    let records = store.get(shown).await?;
    let mut text = format!("more than one task has an id that begins with {digits}:");
    for (id, record) in shown.iter().zip(records) {
        text.push_str(&format!("\n{id}"));
        if let Some(record) = record {
            text.push_str(&format!(" {} {}", record.state, record.name.replace(['\r', '\n'], " ")));
        }
    }
    if fits.len() > shown.len() {
        text.push_str("\nand more");
    }
    Ok(Failure::usage(text).with_hint("give more digits of the id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_as_people_copy_them() {
        let whole = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(whole.parse(), Ok(GivenId::Whole(whole.parse().unwrap())));
        for (text, digits) in [("0", "0"), ("01890A5D", "01890a5d"), ("01890a5d-ac96-7", "01890a5dac967")] {
            assert_eq!(text.parse(), Ok(GivenId::Prefix(digits.into())));
        }
        for text in ["", "-", "xyz", "0189-0a5d", &format!("{whole}0"), "01890a5d ac96"] {
            assert!(text.parse::<GivenId>().is_err(), "{text}");
        }
    }
}
