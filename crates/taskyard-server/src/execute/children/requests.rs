//! Requests of a child to its server, since a child never accesses the database itself.
//!
//! Additions and control calls are queued in the order in which the child made them; responses are sent as they arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_bytes::ByteBuf;
use taskyard_core::client::ResponseFuture;
use taskyard_core::store::WriteReply;
use taskyard_core::{Error, Result};
use tokio::sync::oneshot;

use super::Children;
use super::child::{Assignment, Child};
use super::frame::{AfterFailure, ChildRequest, End, FRAME_BYTES_MAX, Refusal, ToChild};
use super::receive::resolved;
use crate::TaskContext;
use crate::execute::demand::{DemandMessage, TakeRequest};
use crate::primitives::lock::lock;

/// Starts the requests of a child.
pub(super) fn serve(children: &Arc<Children>, child: &mut Child, number: u64, asks: Vec<(u64, ChildRequest)>) {
    let mut refused = Vec::new();
    for (call, asked) in asks {
        let is_question = matches!(&asked, ChildRequest::Client(ask) if ask.is_question());
        let checked = if is_question { child.check_questions(children.command.questions_max) } else { Ok(()) };
        match checked.and_then(|()| begin(children, child, number, asked)) {
            Ok(answering) => {
                let held = children.clone();
                let answering = children.handle.spawn(async move {
                    let answer = answering.await;
                    answered(&held, number, call, &answer);
                });
                // The response cannot be sent before this: that needs the lock that is held here.
                if is_question {
                    child.asks(call, answering.abort_handle());
                }
            }
            Err(error) => refused.push((call, Err(Refusal::from(&error)))),
        }
    }
    if !refused.is_empty() {
        child.send(ToChild::Answers(refused));
    }
}

fn begin(children: &Children, child: &mut Child, number: u64, asked: ChildRequest) -> Result<ResponseFuture> {
    let assignments = &child.assignments;
    let attempt = |slot: u64| match assignments.get(&slot) {
        Some(Assignment::Started { attempt, .. }) => Ok(TaskContext(attempt.clone())),
        _ => Err(Error::InvalidArgument { what: "attempt", why: "it is not running any more".into() }),
    };
    match asked {
        ChildRequest::Client(ask) => {
            let client = children
                .run_context
                .client
                .as_ref()
                .ok_or(Error::ShutDown("this server's client has been shut down"))?;
            client.request(ask)
        }
        ChildRequest::Saved(slot) => {
            let attempt = attempt(slot)?;
            Ok(Box::pin(async move {
                attempt.save_context().await?;
                Ok(b"null".to_vec())
            }))
        }
        ChildRequest::Token(slot) => {
            let attempt = attempt(slot)?;
            Ok(Box::pin(async move {
                attempt.save_context().await?;
                Ok(format!("\"{}\"", attempt.token()).into_bytes())
            }))
        }
        ChildRequest::Take { .. } if !children.config().on_demand => {
            let why = "this server assigns tasks on its own".into();
            Err(Error::InvalidArgument { what: "asking for a task", why })
        }
        ChildRequest::Take { number: take_number, limit, queues, wait_ms } => {
            Ok(take(children, (number, take_number), limit, queues, Duration::from_millis(wait_ms)))
        }
        ChildRequest::Waive(take_number) => {
            children.run_context.demand.push(DemandMessage::Waives((number, take_number)));
            Ok(Box::pin(async { Ok(b"null".to_vec()) }))
        }
        ChildRequest::Ended(slot, end) => Ok(ended(children, child, slot, end)),
    }
}

/// Requests tasks for a child. The response contains the ids of the tasks that were sent to it.
fn take(
    children: &Children,
    name: (u64, u64),
    limit: usize,
    queues: Option<Vec<String>>,
    wait: Duration,
) -> ResponseFuture {
    let (reply, taken) = oneshot::channel();
    let wanted = TakeRequest { name, limit, queues, until: Instant::now() + wait, has_looked: false, reply };
    children.run_context.demand.push(DemandMessage::Wants(wanted));
    Box::pin(async move {
        // The sender is dropped when the server stops: then there are no tasks.
        let ids = taken.await.unwrap_or_default();
        Ok(format!("[{}]", ids.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(",")).into_bytes())
    })
}

/// Ends one attempt of a child, and responds with the state that the store has recorded.
fn ended(children: &Children, child: &mut Child, slot: u64, end: End) -> ResponseFuture {
    let attempt = match child.take(slot) {
        Some(Assignment::Started { attempt, outcome, .. }) => Some((attempt, outcome)),
        Some(sent @ Assignment::Sent { .. }) => {
            // No start was reported for it; the lease or a recall settles it.
            child.assignments.insert(slot, sent);
            None
        }
        None => None,
    };
    if child.assignments.is_empty() {
        child.idle_since = Instant::now();
    }
    let raised = matches!(end, End::Raised { .. });
    let resolved = attempt.map(|(attempt, outcome)| {
        let (outcome, failure) = resolved(&attempt, outcome, end, None);
        (attempt.end_told(outcome), failure)
    });
    let (told, failure) = resolved.unzip();
    if raised {
        let failure = failure.flatten().unwrap_or(AfterFailure::Other);
        child.send(ToChild::Failures(vec![(slot, failure)]));
    }
    children.changed.notify_one();
    Box::pin(async move {
        let written = match told {
            Some(told) => told.await.unwrap_or(WriteReply::Lost),
            None => WriteReply::Lost,
        };
        Ok(match written {
            WriteReply::Applied(state) | WriteReply::AlreadyApplied(state) => {
                format!("\"{}\"", state.as_str()).into_bytes()
            }
            WriteReply::Lost | WriteReply::Locked => b"null".to_vec(),
        })
    })
}

fn answered(children: &Children, number: u64, call: u64, answer: &Result<Vec<u8>>) {
    let answer = match answer {
        Ok(json) if json.len() > FRAME_BYTES_MAX - (1 << 20) => Err(Refusal::from(&Error::OverLimit {
            what: "the answer",
            setting: "of one message to a worker",
            size: json.len(),
            max: FRAME_BYTES_MAX - (1 << 20),
            list_bytes: 0,
        })),
        Ok(json) => Ok(ByteBuf::from(json.clone())),
        Err(error) => Err(Refusal::from(error)),
    };
    if let Some(child) = lock(&children.pool).children.get_mut(&number) {
        child.answer(call, answer);
    }
}
