//! File names that survive JSON exactly: text if the name is UTF-8, base64 of its bytes otherwise.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Exact(pub(super) PathBuf);

impl Exact {
    /// Returns the name for display, with U+FFFD for bytes that are not UTF-8.
    pub(super) fn lossy(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Returns the bytes in base64 if the name is not UTF-8.
    pub(super) fn base64(&self) -> Option<String> {
        self.0.to_str().is_none().then(|| STANDARD.encode(self.0.as_os_str().as_bytes()))
    }
}

impl From<&Path> for Exact {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Shape {
    Text(String),
    Bytes { b64: String },
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.base64() {
            None => Shape::Text(self.lossy()),
            Some(b64) => Shape::Bytes { b64 },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Shape::deserialize(deserializer)? {
            Shape::Text(text) => text.into(),
            Shape::Bytes { b64 } => OsString::from_vec(STANDARD.decode(b64).map_err(de::Error::custom)?).into(),
        }))
    }
}

impl AsRef<OsStr> for Exact {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives() {
        for bytes in [&b"a/b"[..], "ß\u{202e}".as_bytes(), b"a\xff\xfe/b", b"\xc3"] {
            let name = Exact(OsStr::from_bytes(bytes).into());
            let text = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<Exact>(&text).unwrap(), name, "{text}");
            assert_eq!(name.base64().is_some(), std::str::from_utf8(bytes).is_err());
        }
    }
}
