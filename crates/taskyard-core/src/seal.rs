//! Bytes from a language's own serialiser (Python's dill), signed so that write access to a row is not enough to make a
//! worker run code.
//!
//! A payload contains such bytes as `{"$dill": "<envelope in base64>"}`. The envelope consists, in this order, of `TY`,
//! version 2, codec, key id (8 bytes), Python's major and minor version, seconds since the epoch (u64, big endian), the
//! body, and a MAC of 32 bytes: HMAC-SHA-256 over the task's id, its kind, and the envelope so far, each preceded by
//! its length (u64, big endian). So it is valid for one task only. The queue may change and is not covered.
//!
//! Version 1 had no lengths, and id and kind after the envelope: bytes could be moved between them without changing the
//! MAC. Version 1 envelopes are not opened; their tasks are parked with a reason that says so.
//!
//! The signing key is derived from the secret by HKDF; the key id is derived from it too, and reveals nothing about it.
//! The process that verifies passes the verified bytes on: no other code may take bytes from the JSON text itself.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

use crate::task::NewTask;
use crate::{Error, Result, TaskId};

/// Key of an envelope in JSON.
pub const TAG: &str = "$dill";
const MAGIC: [u8; 3] = *b"TY\x02";
/// Prefix of version 1.
const MAGIC_1: [u8; 3] = *b"TY\x01";
const HEADER: usize = 3 + 1 + 8 + 2 + 8;
const MAC: usize = 32;

/// Serialised bytes of a task that is not signed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Offset in the payload at which the envelope's text is inserted, between its quotes.
    pub at: usize,
    /// The Python version that serialised it.
    pub python: (u8, u8),
    /// Output of the serialiser.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A verified envelope: its text in the payload, and its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The base64 text.
    pub text: String,
    /// The Python version that serialised it.
    pub python: (u8, u8),
    /// Output of the serialiser.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// Signing key derived from a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: [u8; 8],
    signing: [u8; 32],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

impl Key {
    /// Derives the key of a secret.
    ///
    /// # Errors
    /// [`Error::Setting`] for a secret shorter than 16 bytes, which could be guessed.
    pub fn new(secret: &str) -> Result<Self> {
        let secret = secret.trim();
        if secret.len() < 16 {
            return Err(Error::Setting { name: "secret (TASKYARD_SECRET)".into(), why: "it is under 16 bytes".into() });
        }
        let derived = Hkdf::<Sha256>::new(Some(b"taskyard"), secret.as_bytes());
        let (mut id, mut signing) = ([0; 8], [0; 32]);
        derived.expand(b"key id", &mut id).expect("8 bytes are not too many");
        derived.expand(b"sign", &mut signing).expect("32 bytes are not too many");
        Ok(Self { id, signing })
    }

    /// Returns its public id.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    fn mac(&self, head: &[u8], id: TaskId, kind: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.signing).expect("any length will do");
        for part in [&id.0.as_bytes()[..], kind.as_bytes(), head] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// Source of keys. Queried for every operation, because a key may be added while a server runs.
pub trait Keys: Send + Sync + std::fmt::Debug {
    /// Returns the key to sign with.
    ///
    /// # Errors
    /// The reason why there is none.
    fn active(&self) -> Result<Key>;

    /// Returns the key with this id, if this process has it.
    fn find(&self, id: &str) -> Option<Key>;
}

/// A source without keys.
#[derive(Debug)]
pub(crate) struct NoKeys;

impl Keys for NoKeys {
    fn active(&self) -> Result<Key> {
        Err(Error::Setting { name: "secret (TASKYARD_SECRET)".into(), why: "this program has no secret".into() })
    }

    fn find(&self, _: &str) -> Option<Key> {
        None
    }
}

/// Returns the reason under which a task is parked if its server lacks a key. The text is part of the protocol between
/// servers.
#[must_use]
pub fn parked_reason(key_id: &str) -> String {
    format!("key {key_id} (TASKYARD_SECRET)")
}

/// The reason under which a task is parked if its values were signed as version 1.
pub const PARKED_VERSION_1: &str =
    "signed as version 1, which could be altered: add the task again (its serialised values are not opened)";

/// Returns the key id in a reason made by [`parked_reason`].
#[must_use]
pub fn key_of_reason(reason: &str) -> Option<&str> {
    reason.strip_prefix("key ")?.strip_suffix(" (TASKYARD_SECRET)")
}

/// Reason why an envelope does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Signed with a key that this process does not have.
    UnknownKey(String),
    /// Signed as version 1.
    Version1,
    /// Does not match what was signed for this task.
    Forged(&'static str),
}

/// Signs the blobs of a task and inserts them into its payload.
///
/// # Errors
/// That of [`Keys::active`] if there is no key, [`Error::InvalidArgument`] for a blob whose offset is outside of the
/// payload.
pub fn seal(task: &mut NewTask, blobs: &[Blob], keys: &dyn Keys, now_s: u64) -> Result<()> {
    if blobs.is_empty() {
        return Ok(());
    }
    let key = keys.active()?;
    for blob in blobs.iter().rev() {
        if blob.at > task.payload.len() {
            return Err(Error::InvalidArgument { what: "payload", why: "a blob lies outside of it".into() });
        }
        let mut envelope = Vec::with_capacity(HEADER + blob.body.len() + MAC);
        envelope.extend_from_slice(&MAGIC);
        envelope.push(1);
        envelope.extend_from_slice(&key.id);
        envelope.extend_from_slice(&[blob.python.0, blob.python.1]);
        envelope.extend_from_slice(&now_s.to_be_bytes());
        envelope.extend_from_slice(&blob.body);
        let mac = key.mac(&envelope, task.id, &task.kind).finalize().into_bytes();
        envelope.extend_from_slice(&mac);
        task.payload.splice(blob.at..blob.at, BASE64.encode(envelope).into_bytes());
    }
    Ok(())
}

/// Verifies every envelope in a payload. If one is invalid, none is returned.
///
/// # Errors
/// [`Unopened`] for the first envelope that does not open.
pub fn open(payload: &[u8], id: TaskId, kind: &str, keys: &dyn Keys) -> std::result::Result<Vec<Opened>, Unopened> {
    if !may_hold(payload) {
        return Ok(Vec::new());
    }
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        // An invalid payload is refused later.
        return Ok(Vec::new());
    };
    let mut texts = Vec::new();
    collect(&value, &mut texts);
    texts.sort_unstable();
    texts.dedup();
    texts.into_iter().map(|text| open_one(text, id, kind, keys)).collect()
}

/// Returns whether a payload contains an envelope, however its tag is escaped.
pub(crate) fn is_sealed(payload: &[u8]) -> bool {
    if !may_hold(payload) {
        return false;
    }
    // Nothing is opened in an invalid payload, see `open`.
    let Ok(value) = serde_json::from_slice::<Value>(payload) else { return false };
    let mut texts = Vec::new();
    collect(&value, &mut texts);
    !texts.is_empty()
}

/// Returns whether the tag may occur, as it is written or with any of its characters escaped.
fn may_hold(payload: &[u8]) -> bool {
    let holds = |part: &[u8]| payload.windows(part.len()).any(|window| window == part);
    holds(TAG.as_bytes()) || holds(b"\\u")
}

fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get(TAG) {
                texts.push(text);
            }
            map.values().for_each(|item| collect(item, texts));
        }
        _ => {}
    }
}

fn open_one(text: &str, id: TaskId, kind: &str, keys: &dyn Keys) -> std::result::Result<Opened, Unopened> {
    let forged = Unopened::Forged;
    let bytes = BASE64.decode(text).map_err(|_| forged("it is not base64"))?;
    if bytes.len() >= HEADER + MAC && bytes[..3] == MAGIC_1 && bytes[3] == 1 {
        return Err(Unopened::Version1);
    }
    if bytes.len() < HEADER + MAC || bytes[..3] != MAGIC || bytes[3] != 1 {
        return Err(forged("it is not an envelope of this version"));
    }
    let key_id = hex(&bytes[4..12]);
    let key = keys.find(&key_id).ok_or(Unopened::UnknownKey(key_id))?;
    let (head, mac) = bytes.split_at(bytes.len() - MAC);
    key.mac(head, id, kind).verify_slice(mac).map_err(|_| forged("its signature does not match this task"))?;
    Ok(Opened { text: text.to_owned(), python: (bytes[12], bytes[13]), body: head[HEADER..].to_vec() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Ring(Vec<Key>);

    impl Keys for Ring {
        fn active(&self) -> Result<Key> {
            self.0.first().cloned().ok_or(Error::ShutDown("no key has been shut down"))
        }

        fn find(&self, id: &str) -> Option<Key> {
            self.0.iter().find(|key| key.id() == id).cloned()
        }
    }

    fn ring(secret: &str) -> Ring {
        Ring(vec![Key::new(secret).unwrap()])
    }

    fn sealed(keys: &Ring) -> NewTask {
        let payload = br#"{"args":[{"$dill":""},1,{"$dill":""}],"kwargs":{}}"#.to_vec();
        let mut task = NewTask::new("app:<lambda>", payload);
        let blobs = [19, 34].map(|at| Blob { at, python: (3, 11), body: vec![at as u8; 5] });
        seal(&mut task, &blobs, keys, 1).unwrap();
        task
    }

    #[test]
    fn what_was_sealed_opens_for_its_task_alone() {
        let keys = ring("0123456789abcdef");
        let task = sealed(&keys);
        let opened = open(&task.payload, task.id, &task.kind, &keys).unwrap();
        let mut bodies: Vec<_> = opened.iter().map(|opened| opened.body.clone()).collect();
        bodies.sort();
        assert_eq!(bodies, [vec![19; 5], vec![34; 5]]);
        let value: Value = serde_json::from_slice(&task.payload).unwrap();
        assert!(opened.iter().any(|opened| value["args"][0][TAG] == opened.text));

        let forged = |result| assert!(matches!(result, Err(Unopened::Forged(_))), "{result:?}");
        forged(open(&task.payload, TaskId::generate(), &task.kind, &keys));
        forged(open(&task.payload, task.id, "app:other", &keys));
        let unknown = open(&task.payload, task.id, &task.kind, &ring("another secret of mine"));
        assert_eq!(unknown, Err(Unopened::UnknownKey(keys.0[0].id())));
    }

    #[test]
    fn no_byte_can_be_altered() {
        let keys = ring("0123456789abcdef");
        let task = sealed(&keys);
        let value: Value = serde_json::from_slice(&task.payload).unwrap();
        let envelope = BASE64.decode(value["args"][0][TAG].as_str().unwrap()).unwrap();
        for at in 0..envelope.len() {
            let mut altered = envelope.clone();
            altered[at] ^= 1;
            let payload = format!(r#"{{"args":[{{"{TAG}":"{}"}}]}}"#, BASE64.encode(altered));
            assert!(open(payload.as_bytes(), task.id, &task.kind, &keys).is_err(), "byte {at}");
        }
    }

    fn head(key: &Key, version: u8, body: &[u8]) -> Vec<u8> {
        [&[b'T', b'Y', version, 1], &key.id[..], &[3, 11], &1_u64.to_be_bytes(), body].concat()
    }

    fn payload(head: &[u8], mac: &[u8]) -> String {
        format!(r#"{{"args":[{{"{TAG}":"{}"}}]}}"#, BASE64.encode([head, mac].concat()))
    }

    #[test]
    fn no_byte_moves_between_body_id_and_kind() {
        let keys = ring("0123456789abcdef");
        let key = &keys.0[0];
        // Without lengths these would be the same bytes in sequence.
        let ids = [[b'x'; 16], [b'x'; 16]].map(|bytes| TaskId(uuid::Uuid::from_bytes(bytes)));
        let mac = key.mac(&head(key, 2, b"bodyxx"), ids[0], "xkind").finalize().into_bytes();
        assert!(open(payload(&head(key, 2, b"bodyxx"), &mac).as_bytes(), ids[0], "xkind", &keys).is_ok());
        for (body, kind) in [("bodyx", "xxkind"), ("bodyxxx", "kind"), ("body", "xxxkind"), ("bodyxxxki", "nd")] {
            let moved = payload(&head(key, 2, body.as_bytes()), &mac);
            assert!(matches!(open(moved.as_bytes(), ids[1], kind, &keys), Err(Unopened::Forged(_))), "{body} {kind}");
        }
    }

    #[test]
    fn what_version_1_signed_is_not_opened_even_if_it_fits() {
        let keys = ring("0123456789abcdef");
        let key = &keys.0[0];
        let task = NewTask::new("app:<lambda>", Vec::new());
        let old = |head: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key.signing).unwrap();
            mac.update(head);
            mac.update(task.id.0.as_bytes());
            mac.update(task.kind.as_bytes());
            mac.finalize().into_bytes().to_vec()
        };
        let signed = |version| {
            let head = head(key, version, b"body");
            open(payload(&head, &old(&head)).as_bytes(), task.id, &task.kind, &keys)
        };
        assert_eq!(signed(1), Err(Unopened::Version1));
        // Its MAC does not match under the new version number either.
        assert!(matches!(signed(2), Err(Unopened::Forged(_))));
    }

    #[test]
    fn an_escaped_name_does_not_evade_the_check() {
        let payload = br#"{"args":[{"\u0024dill":"AAAA"}]}"#;
        let keys = ring("0123456789abcdef");
        assert!(matches!(open(payload, TaskId::generate(), "k", &keys), Err(Unopened::Forged(_))));
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(Key::new("secret").is_err());
    }
}
