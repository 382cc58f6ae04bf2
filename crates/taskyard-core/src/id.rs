//! Identifiers. All are 128 bits wide; none is ever re-used.
//!
//! A task's id is a UUIDv7 made by the client, so that a reference has it at once: a millisecond, and 74 random bits. No
//! id follows from another one, and ids of one millisecond are in no order; an order is decided by the database's
//! sequence. A token is random: a counter inside the row would be rolled back with the row by a
//! fail-over, and two attempts would carry the same one.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
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

/// A UUIDv7 whose bits beside the time are all random. The one of the `uuid` crate counts within a millisecond.
///
/// The bits come from the system: a generator of this process would go on alike in two children of a `fork`, and both would
/// make the same ids.
fn uuid_v7() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    // Of a UUIDv4, bytes 6 and 8 hold its version and variant; all others are random.
    let [a, b, c, d, e, f, _, _, _, g, h, i, j, ..] = Uuid::new_v4().into_bytes();
    uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
}

id_type!(
    /// One unit of work (UUIDv7, made by the client).
    TaskId,
    uuid_v7(),
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
    /// Carried by one claim of one task (random, made by the claiming server or by the database); every later write of that attempt must show it.
    Token,
    Uuid::new_v4(),
    "token"
);

impl Token {
    /// Makes `count` tokens with one call to the system, for a whole claim.
    ///
    /// # Panics
    /// If the system has no random bytes.
    #[must_use]
    pub fn generate_many(count: usize) -> Vec<Self> {
        let mut bytes = vec![0; count * 16];
        SysRng.try_fill_bytes(&mut bytes).expect("the system has random bytes");
        let (tokens, _) = bytes.as_chunks::<16>();
        tokens.iter().map(|random| Self(uuid::Builder::from_random_bytes(*random).into_uuid())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn tokens_of_one_claim_differ() {
        let tokens: std::collections::HashSet<Token> = Token::generate_many(10_000).into_iter().collect();
        assert_eq!(tokens.len(), 10_000);
        assert!(tokens.iter().all(|token| token.0.get_version_num() == 4));
        assert!(Token::generate_many(0).is_empty());
    }

    #[test]
    fn ids_of_one_millisecond_differ_in_all_of_their_random_bits() {
        let ids: Vec<u128> = (0..20_000).map(|_| TaskId::generate().0.as_u128()).collect();
        for id in &ids {
            assert_eq!((id >> 76 & 0xf, id >> 62 & 3), (7, 2), "version and variant of {id:x}");
        }
        // Each random bit changes from one id to the next about every other time; a counter's upper bits do not.
        let random = (0..128).filter(|bit| *bit < 62 || (64..76).contains(bit));
        for bit in random {
            let changes = ids.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> bit & 1 == 1).count();
            assert!((9_000..11_000).contains(&changes), "bit {bit} changed {changes} times");
        }
        let now = u128::from(Timestamp::now().as_millisecond().unsigned_abs());
        assert!(now - (ids[0] >> 80) < 60_000, "the first 48 bits are the time");
    }
}
