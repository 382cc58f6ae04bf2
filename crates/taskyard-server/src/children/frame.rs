//! What a server and a child process say to each other over their socket.
//!
//! A frame is its length (u32, little endian) and then one message in MessagePack. Attempts go by a slot, a number that
//! the server makes up for one attempt in one child; tokens never leave the server. Payloads, contexts and results are
//! the bytes that the database keeps.

use std::io;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use taskyard_core::client::Ask;
use taskyard_core::seal::Opened;
use taskyard_core::{Error, Limits, TaskId};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest message (64 MiB); what is longer was written by someone else, and ends the child.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// What is gathered into one message at most (8 MiB), so that none comes near the longest.
pub const FRAME_BYTES_AIM: usize = 8 << 20;

/// Memory that is set aside for a message before it is there (1 MiB).
const READ_AHEAD: usize = 1 << 20;

/// From the server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum ToChild {
    /// First of all: how to run.
    Begin {
        /// Tasks at once; what is sent beyond waits its turn.
        concurrency: usize,
        /// Sizes that the child refuses, so that what is too large need not cross.
        limits: Limits,
        /// Retries of tasks added here that do not say.
        max_retries: u32,
        /// The longest attempt of tasks added here that do not say, in milliseconds.
        timeout_ms: Option<u64>,
        /// Whether only functions that are declared as tasks may run here.
        only_declared: bool,
        /// What is put before the kinds of its functions.
        namespace: Option<String>,
    },
    /// Run these, in this order.
    Run(Vec<Run>),
    /// Interrupt these attempts, with why.
    Interrupt(Vec<(u64, Why)>),
    /// Give these back if they have not started: each is answered with `Started` (it has) or [`End::Recalled`].
    Recall(Vec<u64>),
    /// Answers to what was asked, by the child's numbers: JSON, or why not.
    Answers(Vec<(u64, Result<ByteBuf, Refusal>)>),
    /// Which of these reasons, for which tasks are parked, do not hold here?
    Knows(Vec<String>),
    /// Call the hooks on death with this task's record (JSON), and answer by this number.
    Death(u64, ByteBuf),
    /// What follows for these attempts, which the child said had raised: the child logs them.
    Failures(Vec<(u64, AfterFailure)>),
    /// Nothing: a child that does not read it has a blocked event loop.
    Ping,
    /// Take nothing more, and leave when all has ended.
    Leave,
}

impl ToChild {
    /// The bytes of the answers in it.
    pub(super) fn answer_bytes(&self) -> usize {
        let Self::Answers(answers) = self else { return 0 };
        answers.iter().map(|(_, answer)| 64 + answer.as_ref().map_or(0, |json| json.len())).sum()
    }
}

/// One attempt to be run.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Run {
    /// Its name in this child.
    pub slot: u64,
    /// The task.
    pub id: TaskId,
    /// The function.
    pub kind: String,
    /// The label, if it has one of its own.
    pub name: Option<String>,
    /// The queue it was claimed from.
    pub queue: String,
    /// JSON `{"args": [...], "kwargs": {...}}`, in the Python client's encoding: plain JSON is escaped before it comes here.
    pub payload: ByteBuf,
    /// The stored context, a JSON object in the same encoding; none if it is empty.
    pub context: Option<ByteBuf>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How long it may take, in milliseconds; the server watches it too.
    pub timeout_ms: Option<u64>,
    /// Whether it has parents whose results it may ask for.
    pub has_parents: bool,
    /// Whether a database role that may only add tasks added it: only a function that is declared as a task may run.
    pub restricted: bool,
    /// Serialised values of the payload whose signatures were verified; no others may be opened.
    pub opened: Vec<Opened>,
}

/// Why something that a child asked was not done.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// The error's stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code().into(), message: error.to_string(), hint: error.hint().map(Into::into) }
    }
}

/// What a child asks of its server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum Asked {
    /// An operation of the server's client.
    Client(Ask),
    /// Answers `null` once everything noted for this attempt is durable.
    Saved(u64),
    /// Answers this attempt's token once everything noted for it is durable: to end it in a transaction of its own.
    Token(u64),
    /// Claims up to `limit` tasks for this child, of these queues or of all; answers their ids once they were sent, or
    /// none when so many milliseconds have passed. Only of a server that claims on demand.
    Take {
        /// The child's own name for this question.
        number: u64,
        /// At most so many.
        limit: usize,
        /// Only of these queues.
        queues: Option<Vec<String>>,
        /// How long to wait for the first one; 0 = one look.
        wait_ms: u64,
    },
    /// A `Take` is not wanted any more: it is answered at once, and claims nothing from here on.
    Waive(u64),
    /// Ends an attempt, and answers the state that was written, or `null` if its lease was over before.
    Ended(u64, End),
}

/// What follows for an attempt that raised.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt, in so many milliseconds.
    Retry(u64),
    /// None: the task is a dead letter.
    Dead,
    /// It was not a failure, or the server logs it.
    Other,
}

/// Why an attempt is to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Why {
    /// Someone asked to cancel or stop it.
    Asked,
    /// The server stops: it goes back uncharged.
    Release,
    /// Its time is over.
    Timeout,
}

/// From a child.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum FromChild {
    /// Ready to run tasks.
    Ready {
        /// Whether the application has hooks on death.
        hears_deaths: bool,
        /// The fingerprint of the application's code: children with the same one know the same kinds. None if it does not say.
        code: Option<String>,
    },
    /// The hooks on death are about to be called.
    Tells(u64),
    /// The hooks on death were called.
    Told(u64),
    /// These attempts' bodies are about to begin.
    Started(Vec<u64>),
    /// Log lines and contexts of running attempts.
    Noted(Vec<Note>),
    /// These attempts wait for other tasks (`true`), which leaves their places to others, or go on.
    Rests(Vec<(u64, bool)>),
    /// These attempts have ended.
    Ended(Vec<(u64, End)>),
    /// Questions, by numbers of the child's own.
    Asks(Vec<(u64, Asked)>),
    /// The answers to these questions are not wanted any more.
    Withdrawn(Vec<u64>),
    /// Of the reasons it was asked about, those that do not hold here.
    Known(Vec<String>),
    /// Functions of these kinds run one at a time in one child.
    Singles(Vec<String>),
    /// Its event loop has been blocked for a second (`true`), or goes on. A blocked child gives back all that has not begun,
    /// attempts whose start it has announced included: they end as [`End::Recalled`].
    Blocked(bool),
}

/// What a running attempt wants stored.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Note {
    /// The attempt.
    pub slot: u64,
    /// The whole context, a JSON object, if it changed.
    pub context: Option<ByteBuf>,
    /// Log lines, in order.
    pub lines: Vec<Line>,
}

/// A log line.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Line {
    /// As Python's: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
    pub level: i16,
    /// The logger's name.
    pub logger: String,
    /// The message.
    pub message: String,
    /// Structured fields, a JSON object.
    pub fields: Option<ByteBuf>,
    /// The traceback's text.
    pub traceback: Option<String>,
}

/// How an attempt ended in its child.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub enum End {
    /// It returned this, JSON bytes.
    Returned(ByteBuf),
    /// It raised.
    Raised {
        /// The error's type by its full name.
        error_type: String,
        /// The types it descends from, which retry policies may name too.
        also: Vec<String>,
        /// One line for people.
        message: String,
        /// The traceback's text.
        traceback: Option<String>,
        /// What is to be done about it.
        wish: Wish,
    },
    /// It ended because it was interrupted.
    Interrupted,
    /// It cannot be run here; tasks parked for the same reason share this text.
    Parked(String),
    /// It had not started, and was asked back.
    Recalled,
}

/// What a body that raised wants done about it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub enum Wish {
    /// What the task's retry policy says.
    Policy,
    /// No retry.
    Never,
    /// Another try after so many milliseconds, if one is left.
    After(u64),
    /// Run it later, after so many milliseconds, at no cost.
    Snooze(u64),
    /// It was cancelled, and neither its server nor itself asked for that: something beside it did. Its own fault it is
    /// only if it ran alone.
    Cancelled,
}

/// Appends a message as a frame.
///
/// # Errors
/// A message over [`FRAME_BYTES_MAX`].
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

/// The next message; `None` at an end between two.
///
/// # Errors
/// An end within a frame, a frame that is too long or is none of ours, or the system's.
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
    // A length alone takes no memory.
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
            ToChild::Interrupt(vec![(7, Why::Timeout)]),
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
    async fn what_is_no_frame_is_an_error() {
        let mut long: &[u8] = b"print(";
        assert!(read::<FromChild>(&mut long).await.unwrap_err().to_string().contains("over the limit"));
        let mut cut: &[u8] = &[9, 0];
        assert_eq!(read::<FromChild>(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut foreign: &[u8] = &[1, 0, 0, 0, 0xc1];
        assert!(read::<FromChild>(&mut foreign).await.is_err());
    }
}
