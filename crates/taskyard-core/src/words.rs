//! Enumerations with a readable text and a stored number for each variant.

/// Defines an enumeration. serde uses the names of the variants, users read and write their texts (`from_text` parses
/// them), and both databases store their numbers.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All variants, in the order of their codes.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Returns the number that both databases store.
            #[must_use]
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// Returns the variant of a stored number; `None` if there is none, as in a row that was edited by hand.
            #[must_use]
            pub fn from_code(code: i16) -> Option<Self> {
                usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
            }

            /// Returns the text of the variant.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;
