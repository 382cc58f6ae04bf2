//! The protocol that a server and a child process speak over their socket.
//!
//! A frame is its length (u32, little endian) followed by one message in MessagePack. Attempts are identified by a
//! slot, a number that the server assigns to one attempt in one child; tokens never leave the server. Payloads,
//! contexts and results are the bytes that the database stores.
//!
//! [`Interrupt`], [`RetryDirective`] and [`LogLine`] are the types of the attempt itself. [`End`] is not the end of a body
//! in this process: a child may also park or return a task. [`Refusal`] is an error without its type.

use std::io;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use taskyard_core::client::ClientRequest;
use taskyard_core::seal::Opened;
use taskyard_core::task::LogLine;
use taskyard_core::{Error, Limits, TaskId};
use tokio::io::{AsyncRead, AsyncReadExt as _};

pub use crate::attempt::Interrupt;
pub use crate::attempt::task_error::RetryDirective;

/// Maximum length of a message (64 MiB). A longer one is not from a peer of this protocol and ends the child.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes after which a message is not extended further (8 MiB), so that none comes near the maximum.
pub const FRAME_BYTES_AIM: usize = 8 << 20;

/// Maximum memory that is reserved for a message before its bytes arrive (1 MiB).
const READ_AHEAD: usize = 1 << 20;

/// Messages from the server to a child.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum ToChild {
    /// The first message: configures the child.
    Begin {
        /// Maximum number of tasks that run at once; further ones wait in the child.
        concurrency: usize,
        /// Size limits that the child enforces, so that values which are too large need not be sent.
        limits: Limits,
        /// Default number of retries of tasks added by the child.
        max_retries: u32,
        /// Default time limit of tasks added by the child, in milliseconds.
        timeout_ms: Option<u64>,
        /// Whether only functions that are declared as tasks may run.
        only_declared: bool,
        /// Prefix of the kinds of its functions.
        namespace: Option<String>,
    },
    /// Run these attempts, in this order.
    Run(Vec<Run>),
    /// Interrupt these attempts, each for a reason.
    Interrupt(Vec<(u64, Interrupt)>),
    /// Give these attempts back if they have not started. Each is replied to with `Started` (it has) or
    /// [`End::Recalled`].
    Recall(Vec<u64>),
    /// Responses to requests, by the child's call numbers: JSON, or an error.
    Answers(Vec<(u64, Result<ByteBuf, Refusal>)>),
    /// Asks which of these parking reasons do not apply in the child; replied to with `Known`.
    #[serde(rename = "Knows")]
    ProbeParked(Vec<String>),
    /// Call the dead-letter hooks with this task's record (JSON), and reply with this number.
    Death(u64, ByteBuf),
    /// Consequences for attempts that raised an error; the child logs them.
    Failures(Vec<(u64, AfterFailure)>),
    /// No operation: a child that does not read it has a blocked event loop.
    Ping,
    /// Take no further tasks, and exit when all have ended.
    Leave,
}

impl ToChild {
    /// Returns the number of response bytes in the message.
    pub(super) fn answer_bytes(&self) -> usize {
        let Self::Answers(answers) = self else { return 0 };
        answers.iter().map(|(_, answer)| 64 + answer.as_ref().map_or(0, |json| json.len())).sum()
    }
}

/// An attempt to run.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Run {
    /// The attempt's number in this child.
    pub slot: u64,
    /// The id of the task.
    pub id: TaskId,
    /// The function.
    pub kind: String,
    /// The label, if the task has one.
    pub name: Option<String>,
    /// The queue that the task was claimed from.
    pub queue: String,
    /// JSON `{"args": [...], "kwargs": {...}}` in the Python client's encoding; plain JSON is escaped before it is
    /// sent.
    pub payload: ByteBuf,
    /// The stored context, a JSON object in the same encoding; `None` if it is empty.
    pub context: Option<ByteBuf>,
    /// The number of this attempt, starting at 1.
    pub attempt: u32,
    /// Time limit in milliseconds; the server enforces it too.
    pub timeout_ms: Option<u64>,
    /// Whether the task has parents whose results it may request.
    pub has_parents: bool,
    /// Whether the task was added by a database role that may only add tasks: then only a function that is declared as
    /// a task may run.
    pub restricted: bool,
    /// Serialised values of the payload whose signatures were verified; no others may be deserialised.
    pub opened: Vec<Opened>,
}

/// An error in response to a child's request.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// The error's stable code.
    pub code: String,
    /// The error message.
    pub message: String,
    /// A suggestion for fixing the error.
    pub hint: Option<String>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code().into(), message: error.to_string(), hint: error.hint().map(Into::into) }
    }
}

/// A request of a child to its server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum ChildRequest {
    /// An operation of the server's client.
    Client(ClientRequest),
    /// Responds with `null` once all notes of this attempt are durable.
    Saved(u64),
    /// Responds with this attempt's token once all its notes are durable; used to end the attempt in a transaction of
    /// the child's own.
    Token(u64),
    /// Claims up to `limit` tasks for this child from the given queues, or from all. Responds with their ids once they
    /// were sent, or with none when the waiting time is over. Only in servers that claim on demand.
    Take {
        /// The child's number for this request.
        number: u64,
        /// Maximum number of tasks.
        limit: usize,
        /// The queues to claim from; `None` for all.
        queues: Option<Vec<String>>,
        /// Time to wait for the first task in milliseconds; 0 = claim once.
        wait_ms: u64,
    },
    /// Withdraws a `Take`: it is responded to at once, and claims nothing from here on.
    Waive(u64),
    /// Ends an attempt. Responds with the state that was written, or `null` if its lease was over before.
    Ended(u64, End),
}

/// The consequence for an attempt that raised an error.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt after this many milliseconds.
    Retry(u64),
    /// No other attempt: the task is a dead letter.
    Dead,
    /// Not a failure, or logged by the server.
    Other,
}

/// Messages from a child to the server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum FromChild {
    /// The child is ready to run tasks.
    Ready {
        /// Whether the application has dead-letter hooks.
        hears_deaths: bool,
        /// Fingerprint of the application's code: children with the same fingerprint can run the same kinds. `None` if
        /// not reported.
        code: Option<String>,
    },
    /// The dead-letter hooks are about to be called.
    Tells(u64),
    /// The dead-letter hooks were called.
    Told(u64),
    /// The bodies of these attempts are about to begin.
    Started(Vec<u64>),
    /// Log lines and contexts of running attempts.
    Noted(Vec<Note>),
    /// These attempts wait for other tasks (`true`), which frees their concurrency slots, or continue (`false`).
    Rests(Vec<(u64, bool)>),
    /// These attempts have ended.
    Ended(Vec<(u64, End)>),
    /// Requests, by call numbers of the child.
    Asks(Vec<(u64, ChildRequest)>),
    /// These requests are withdrawn; their responses are not needed any more.
    Withdrawn(Vec<u64>),
    /// Those of the parking reasons in `Knows` that do not apply in the child.
    Known(Vec<String>),
    /// Functions of these kinds run one at a time in one child.
    Singles(Vec<String>),
    /// The child's event loop has been blocked for a second (`true`), or runs again. A blocked child gives back all
    /// attempts that have not begun, including those whose start it has reported: they end as [`End::Recalled`].
    Blocked(bool),
}

/// Data that a running attempt wants stored.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Note {
    /// The slot of the attempt.
    pub slot: u64,
    /// The whole context, a JSON object, if it has changed.
    pub context: Option<ByteBuf>,
    /// Log lines, in order.
    pub lines: Vec<LogLine>,
}

/// The end of an attempt in its child.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum End {
    /// The body returned this value, as JSON bytes.
    Returned(ByteBuf),
    /// The body raised an error.
    Raised {
        /// Full name of the error's type.
        error_type: String,
        /// Names of the base types, which retry policies may refer to as well.
        also: Vec<String>,
        /// The error message, one line of text.
        message: String,
        /// The traceback text.
        traceback: Option<String>,
        /// The retry behaviour that the error requests.
        #[serde(rename = "wish")]
        directive: RetryDirective,
    },
    /// The body ended because it was interrupted.
    Interrupted,
    /// The task cannot run here, for this reason; tasks that are parked for the same reason share the text.
    Parked(String),
    /// The attempt had not started and was recalled.
    Recalled,
}

/// Appends a message as a frame.
///
/// # Errors
/// If the message exceeds [`FRAME_BYTES_MAX`], in which case `out` is unchanged, or cannot be encoded.
pub fn write<M: Serialize>(message: &M, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    rmp_serde::encode::write(out, message).map_err(io::Error::other)?;
    let length = out.len() - begin - 4;
    if length > FRAME_BYTES_MAX {
        out.truncate(begin);
        return Err(too_long(length));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Reads the next message; returns `None` if the stream ends between two messages.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the stream ends within a frame; another error if the frame is longer than
/// [`FRAME_BYTES_MAX`], cannot be decoded, or cannot be read.
pub async fn read<M: for<'a> Deserialize<'a>>(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    let mut got = 0;
    while got < length.len() {
        match input.read(&mut length[got..]).await? {
            0 if got == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => got += more,
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length));
    }
    // A length alone must not allocate memory.
    let mut bytes = Vec::with_capacity(length.min(READ_AHEAD));
    if input.take(length as u64).read_to_end(&mut bytes).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    rmp_serde::from_slice(&bytes).map(Some).map_err(io::Error::other)
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!("a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_back_as_they_were() {
        let run = Run {
            slot: 7,
            id: TaskId::generate(),
            kind: "app:mail".into(),
            name: None,
            queue: "default".into(),
            payload: ByteBuf::from(br#"{"args":[],"kwargs":{}}"#.to_vec()),
            context: Some(ByteBuf::from(b"{}".to_vec())),
            attempt: 2,
            timeout_ms: Some(300_000),
            has_parents: false,
            restricted: false,
            opened: Vec::new(),
        };
        let messages = [
            ToChild::Begin {
                concurrency: 10,
                limits: Limits::default(),
                max_retries: 3,
                timeout_ms: None,
                only_declared: false,
                namespace: Some("shop".into()),
            },
            ToChild::Run(vec![run]),
            ToChild::Interrupt(vec![(7, Interrupt::Timeout)]),
            ToChild::Leave,
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            write(message, &mut bytes).unwrap();
        }
        let mut input = bytes.as_slice();
        for message in &messages {
            assert_eq!(read::<ToChild>(&mut input).await.unwrap().as_ref(), Some(message));
        }
        assert_eq!(read::<ToChild>(&mut input).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_a_frame_is_an_error() {
        let mut long: &[u8] = b"print(";
        assert!(read::<FromChild>(&mut long).await.unwrap_err().to_string().contains("over the limit"));
        let mut cut: &[u8] = &[9, 0];
        assert_eq!(read::<FromChild>(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut foreign: &[u8] = &[1, 0, 0, 0, 0xc1];
        assert!(read::<FromChild>(&mut foreign).await.is_err());
    }
}
