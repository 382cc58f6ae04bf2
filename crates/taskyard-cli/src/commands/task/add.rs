//! `task add KIND`: adds a task of any kind and runtime and prints its id.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use taskyard::{Call, OnParentFailure};
use taskyard_terminal::Failure;

use super::wait;
use crate::commands::call_args::CallArgs;
use crate::commands::filter::span;
use crate::commands::id::{self, GivenId};
use crate::commands::known;
use crate::session::{Access, Session};

/// Add a task by its kind
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    work: CallArgs,
    /// Start no sooner than this long from now
    #[arg(long, value_name = "DURATION", value_parser = span)]
    delay: Option<Duration>,
    /// Tasks that must be done first
    #[arg(long = "parent", value_name = "ID")]
    parents: Vec<GivenId>,
    /// Behaviour if a parent fails: fail, run or wait
    #[arg(long, value_name = "POLICY", default_value = "fail")]
    on_parent_failure: OnParentFailure,
    /// At most one unfinished task with this key; a second addition returns the first task's id
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Wait for the task and print its result
    #[arg(long)]
    wait: bool,
}

impl Add {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let call = self.call()?;
        let taskyard = session.taskyard(Access::Create).await?;
        let parents = id::find_all(taskyard.store().as_ref(), &self.parents).await?;
        let task = taskyard.add(parents.into_iter().fold(call, Call::parent_id)).await?;
        let id = task.id();
        if self.wait {
            taskyard_terminal::remark(id);
            known::warn_of_task(session, &taskyard, id).await?;
            return wait::result(session, &task, None).await;
        }
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"id": id, "existing": task.existing()}))?;
        } else {
            out.line(id)?;
        }
        known::warn_of_task(session, &taskyard, id).await?;
        Ok(0)
    }

    fn call(&self) -> Result<Call<Box<RawValue>>, Failure> {
        let mut call = self.work.call()?.on_parent_failure(self.on_parent_failure);
        call = self.delay.into_iter().fold(call, Call::delay);
        Ok(self.unique.iter().fold(call, Call::unique))
    }
}
