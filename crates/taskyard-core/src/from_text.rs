//! Parses ids and words. The implementations are apart from their types, because [`Error`] contains ids and states,
//! which therefore must not import it.

use std::str::FromStr;

use uuid::Uuid;

use crate::schedule::{CatchUp, OnConflict, Overlap, RunOutcome};
use crate::state::{OnParentFailure, Runtime, TaskState, WaitReason};
use crate::task::AttemptOutcome;
use crate::{AdditionId, ClaimId, Error, Result, ServerId, TaskId, Token};

macro_rules! ids {
    ($($name:ident $what:literal,)+) => {$(
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Uuid::parse_str(text.trim()).map(Self).map_err(|_| Error::InvalidArgument {
                    what: $what,
                    why: format!("`{}` is not a UUID", text.escape_debug()),
                })
            }
        }
    )+};
}

ids! {
    TaskId "task id",
    ServerId "server id",
    ClaimId "claim id",
    AdditionId "addition id",
    Token "token",
}

macro_rules! words {
    ($($name:ident $what:literal,)+) => {$(
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| Error::InvalidArgument {
                    what: $what,
                    why: format!("`{}` is not one of {}", text.escape_debug(), Self::ALL.map(Self::as_str).join(", ")),
                })
            }
        }
    )+};
}

words! {
    TaskState "state",
    WaitReason "reason to wait",
    OnParentFailure "on_parent_failure",
    Runtime "runtime",
    Overlap "overlap",
    CatchUp "catch_up",
    RunOutcome "outcome",
    OnConflict "on_conflict",
    AttemptOutcome "outcome",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_and_others_are_refused() {
        let id = TaskId::generate();
        assert_eq!(format!(" {id} ").parse(), Ok(id));
        assert_eq!("x\n".parse::<TaskId>().unwrap_err().to_string(), r"task id: `x\n` is not a UUID");
        assert!(TaskState::ALL.into_iter().all(|state| state.as_str().parse() == Ok(state)));
        assert_eq!("perl".parse::<Runtime>().unwrap_err().to_string(), "runtime: `perl` is not one of rust, python");
    }
}
