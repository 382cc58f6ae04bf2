//! Identifiers. All are 128 bits wide; none is ever re-used.
//!
//! A task's id is a UUIDv7 made by the client, so that a reference has it at once; it never decides an order (the
//! database's sequence does). A token is random: a counter inside the row would be rolled back with the row by a
//! fail-over, and two attempts would carry the same one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $make:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a new one.
            #[must_use]
            pub fn generate() -> Self {
                Self($make)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = crate::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text.trim()).map(Self).map_err(|_| crate::Error::InvalidArgument {
                    what: $what,
                    why: format!("`{}` is not a UUID", text.escape_debug()),
                })
            }
        }
    };
}

id_type!(
    /// One unit of work (UUIDv7, made by the client).
    TaskId,
    Uuid::now_v7(),
    "task id"
);
id_type!(
    /// One boot of one server process (random). A server's name is only a label.
    ServerId,
    Uuid::new_v4(),
    "server id"
);
id_type!(
    /// One claim statement (random, made by the claiming server), so that a claim whose reply was lost can be read back.
    ClaimId,
    Uuid::new_v4(),
    "claim id"
);
id_type!(
    /// One try to add a batch (random, made by the client), so that an addition whose reply was lost can be asked back.
    AdditionId,
    Uuid::new_v4(),
    "addition id"
);
id_type!(
    /// What one claim of one task carries (random, made by the database); every later write of that attempt must show it.
    Token,
    Uuid::new_v4(),
    "token"
);
