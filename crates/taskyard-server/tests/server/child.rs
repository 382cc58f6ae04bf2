//! A child process in Rust: this test program, started again. Speaks the same protocol as Python's child processes.
//!
//! The kind of a task determines its behaviour; `hold` and `stubborn` run until the file given as argument exists.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_bytes::ByteBuf;
use serde_json::Value;
use taskyard_core::client::ClientRequest;
use taskyard_core::task::LogLine;
use taskyard_server::children::ChildCommand;
use taskyard_server::children::frame::{self, End, FromChild, Interrupt, Note, RetryDirective, Run, ToChild};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

const MARK: &str = "TASKYARD_TEST_CHILD";
/// A directory in which each call of the dead-letter hooks creates a file; there are hooks only if it is set.
const DEATHS: &str = "TASKYARD_TEST_CHILD_DEATHS";
/// Number of initial calls of the hooks that kill the child.
const DEADLY: &str = "TASKYARD_TEST_CHILD_DEADLY";

/// Returns the command of this program as a child with dead-letter hooks.
pub fn mourning(directory: &Path, deadly: usize) -> ChildCommand {
    let mut command = command();
    command.env.push((DEATHS.into(), directory.into()));
    command.env.push((DEADLY.into(), deadly.to_string().into()));
    command
}

/// Returns the dead letters that its hooks were called with, in no particular order.
pub fn mourned(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).filter(|name| name != "tries").collect()
}

/// Returns how many times the hooks were called.
pub fn tries(directory: &Path) -> u64 {
    std::fs::metadata(directory.join("tries")).map_or(0, |tries| tries.len())
}

fn mourn(dead: &[u8]) {
    let directory = std::path::PathBuf::from(std::env::var_os(DEATHS).unwrap());
    let file = std::fs::OpenOptions::new().append(true).create(true).open(directory.join("tries"));
    file.unwrap().write_all(b".").unwrap();
    if tries(&directory) <= std::env::var(DEADLY).unwrap().parse().unwrap() {
        std::process::abort();
    }
    let dead: Value = serde_json::from_slice(dead).unwrap();
    assert_eq!(dead["state"], "failed");
    std::fs::write(directory.join(dead["id"].as_str().unwrap()), "").unwrap();
}

/// Returns the command of this program as a child.
pub fn command() -> ChildCommand {
    let mut command = ChildCommand::new(std::env::current_exe().unwrap(), ["child::this_is_the_child", "--exact"]);
    command.env.push((OsString::from(MARK), OsString::from("1")));
    command
}

/// Entry point of the child; as a test, checks that it exits when its server is gone.
#[test]
fn this_is_the_child() {
    if std::env::var_os(MARK).is_none() {
        let (_, theirs) = Socket::pair().unwrap();
        let ours = command();
        let mut child = std::process::Command::new(ours.program);
        let status = child.args(ours.args).envs(ours.env).stdin(OwnedFd::from(theirs)).status().unwrap();
        assert!(status.success(), "{status}");
    } else {
        if std::env::var_os("TASKYARD_TEST_CHILD_FAILS").is_some_and(|path| !std::path::Path::new(&path).exists()) {
            std::process::exit(4);
        }
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(live());
    }
}

/// Why an attempt is to end, once that is so.
type ChildRequest = watch::Sender<Option<Interrupt>>;

/// Sends messages synchronously: a message sent before a body begins must have left the process when it dies.
#[derive(Clone)]
struct Say(Arc<Mutex<Socket>>);

impl Say {
    fn send(&self, message: FromChild) {
        let mut bytes = Vec::new();
        frame::write(&message, &mut bytes).unwrap();
        let mut socket = self.0.lock().unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match socket.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => std::process::exit(1),
            }
        }
    }
}

struct Slots {
    /// Waiting attempts; false = recalled.
    waiting: Mutex<HashMap<u64, bool>>,
    running: Mutex<HashMap<u64, ChildRequest>>,
}

async fn live() {
    let socket = Socket::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    socket.set_nonblocking(true).unwrap();
    let say = Say(Arc::new(Mutex::new(socket.try_clone().unwrap())));
    let mut input = UnixStream::from_std(socket).unwrap();
    let slots = Arc::new(Slots { waiting: Mutex::default(), running: Mutex::default() });
    let mut places = Arc::new(Semaphore::new(0));
    let mut leaving = false;
    while let Ok(Some(message)) = frame::read::<ToChild>(&mut input).await {
        match message {
            ToChild::Begin { concurrency, .. } => {
                places = Arc::new(Semaphore::new(concurrency));
                let hears_deaths = std::env::var_os(DEATHS).is_some();
                say.send(FromChild::Ready { hears_deaths, code: None });
            }
            ToChild::Run(runs) => {
                for run in runs {
                    slots.waiting.lock().unwrap().insert(run.slot, true);
                    let (slots, places, say) = (slots.clone(), places.clone(), say.clone());
                    tokio::spawn(async move {
                        let _place = places.acquire().await.unwrap();
                        one(run, &slots, &say).await;
                    });
                }
            }
            ToChild::Recall(asked) => {
                for slot in asked {
                    if let Some(wanted) = slots.waiting.lock().unwrap().get_mut(&slot) {
                        *wanted = false;
                        say.send(FromChild::Ended(vec![(slot, End::Recalled)]));
                    }
                }
            }
            ToChild::Interrupt(asked) => {
                for (slot, why) in asked {
                    if let Some(asked) = slots.running.lock().unwrap().get(&slot) {
                        asked.send_replace(Some(why));
                    }
                }
            }
            ToChild::Answers(_) | ToChild::Failures(_) | ToChild::Ping => {}
            ToChild::ProbeParked(reasons) => {
                let known = reasons.into_iter().filter(|reason| reason == "kind `known`").collect();
                say.send(FromChild::Known(known));
            }
            ToChild::Death(number, dead) => {
                say.send(FromChild::Tells(number));
                mourn(&dead);
                say.send(FromChild::Told(number));
            }
            ToChild::Leave => leaving = true,
        }
        if leaving && slots.running.lock().unwrap().is_empty() {
            break;
        }
    }
    std::process::exit(0);
}

async fn one(run: Run, slots: &Slots, say: &Say) {
    if slots.waiting.lock().unwrap().remove(&run.slot) != Some(true) {
        return;
    }
    let (asked, mut interrupted) = watch::channel(None);
    slots.running.lock().unwrap().insert(run.slot, asked);
    say.send(FromChild::Started(vec![run.slot]));
    let end = tokio::select! {
        end = body(&run, say) => end,
        _ = interrupted.changed(), if run.kind != "stubborn" => End::Interrupted,
    };
    slots.running.lock().unwrap().remove(&run.slot);
    say.send(FromChild::Ended(vec![(run.slot, end)]));
}

async fn until(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn body(run: &Run, say: &Say) -> End {
    let payload: Value = serde_json::from_slice(&run.payload).unwrap();
    let argument = payload["args"][0].clone();
    let result = |value: &Value| End::Returned(ByteBuf::from(serde_json::to_vec(value).unwrap()));
    let raised = |directive| End::Raised {
        error_type: "ValueError".into(),
        also: vec!["Exception".into()],
        message: "no".into(),
        traceback: Some("Traceback …".into()),
        directive,
    };
    match run.kind.as_str() {
        "echo" => result(&argument),
        "who" => result(&std::process::id().into()),
        "hold" | "stubborn" => {
            until(Path::new(argument.as_str().unwrap())).await;
            result(&std::process::id().into())
        }
        "wonders" => {
            // Asks for the end of a task many times, and withdraws the requests when the first file exists.
            let [asked, withdrawn, ended] = ["asked", "withdrawn", "ended"]
                .map(|name| Path::new(argument["directory"].as_str().unwrap()).join(name));
            let about = argument["task"].as_str().unwrap().parse().unwrap();
            let calls = 0..argument["count"].as_u64().unwrap();
            let asks =
                calls.clone().map(|call| (call, frame::ChildRequest::Client(ClientRequest::Wait(about)))).collect();
            say.send(FromChild::Asks(asks));
            std::fs::write(asked, "").unwrap();
            until(&withdrawn).await;
            say.send(FromChild::Withdrawn(calls.collect()));
            until(&ended).await;
            result(&Value::Null)
        }
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "raise" => raised(RetryDirective::Policy),
        "fail" => raised(RetryDirective::Never),
        "again" if run.attempt == 1 => raised(RetryDirective::After(Duration::from_millis(1))),
        "snooze" if argument == run.attempt => raised(RetryDirective::Snooze(Duration::from_millis(1))),
        "again" | "snooze" => result(&run.attempt.into()),
        "note" => {
            let line = LogLine {
                level: 30,
                logger: "app".into(),
                message: "look".into(),
                fields: Some(b"{\"n\":1}".to_vec()),
                traceback: None,
            };
            let context = Some(ByteBuf::from(b"{\"step\":2}".to_vec()));
            say.send(FromChild::Noted(vec![Note { slot: run.slot, context, lines: vec![line] }]));
            result(&Value::Null)
        }
        "junk" => {
            // Into the socket, bypassing the protocol.
            let socket = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
            (&socket).write_all(b"print('hello')\n").unwrap();
            std::future::pending().await
        }
        kind => End::Parked(format!("kind `{kind}`")),
    }
}
