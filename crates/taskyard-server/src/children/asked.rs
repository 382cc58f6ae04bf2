//! What a child asks of its server: it never touches the database itself.
//!
//! Additions and control calls are pushed in the order in which the child made them; answers go back as they come.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use taskyard_core::{Error, Result};

use super::Children;
use super::child::{Child, Flight};
use super::frame::{Asked, FRAME_BYTES_MAX, Refusal, ToChild};
use crate::TaskContext;
use crate::engine::lock;

/// Takes questions of a child.
pub(super) fn asked(children: &Arc<Children>, child: &Child, number: u64, asks: Vec<(u64, Asked)>) {
    let mut refused = Vec::new();
    for (call, asked) in asks {
        match begin(children, child, asked) {
            Ok(answering) => {
                let children = children.clone();
                children.handle.clone().spawn(async move {
                    let answer = answering.await;
                    answered(&children, number, call, &answer);
                });
            }
            Err(error) => refused.push((call, Err(Refusal::from(&error)))),
        }
    }
    if !refused.is_empty() {
        child.send(ToChild::Answers(refused));
    }
}

fn begin(children: &Children, child: &Child, asked: Asked) -> Result<taskyard_core::client::Answering> {
    let attempt = |slot: u64| match child.flights.get(&slot) {
        Some(Flight::Started { attempt, .. }) => Ok(TaskContext(attempt.clone())),
        _ => Err(Error::InvalidArgument { what: "attempt", why: "it does not run any more".into() }),
    };
    match asked {
        Asked::Client(ask) => {
            let client = children.engine.client.as_ref().ok_or(Error::ShutDown("this server's client"))?;
            client.ask(ask)
        }
        Asked::Saved(slot) => {
            let attempt = attempt(slot)?;
            Ok(Box::pin(async move {
                attempt.save_context().await?;
                Ok(b"null".to_vec())
            }))
        }
        Asked::Token(slot) => {
            let attempt = attempt(slot)?;
            Ok(Box::pin(async move {
                attempt.save_context().await?;
                Ok(format!("\"{}\"", attempt.token()).into_bytes())
            }))
        }
    }
}

fn answered(children: &Children, number: u64, call: u64, answer: &Result<Vec<u8>>) {
    let answer = match answer {
        Ok(json) if json.len() > FRAME_BYTES_MAX - (1 << 20) => Err(Refusal::from(&Error::OverLimit {
            what: "the answer",
            setting: "of one message to a worker",
            size: json.len(),
            max: FRAME_BYTES_MAX - (1 << 20),
        })),
        Ok(json) => Ok(ByteBuf::from(json.clone())),
        Err(error) => Err(Refusal::from(error)),
    };
    if let Some(child) = lock(&children.yard).children.get(&number) {
        child.send(ToChild::Answers(vec![(call, answer)]));
    }
}
