//! `task add KIND`: adds a task by hand, of any kind and runtime; its id goes to stdout.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use taskyard::{Call, OnParentFailure, Runtime, TaskId};

use super::wait;
use crate::commands::filter::span;
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Add a task by its kind
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The function's path (Rust) or module:name (Python)
    kind: String,
    /// Positional arguments, a JSON list
    #[arg(long, value_name = "JSON", default_value = "[]")]
    args: String,
    /// Named arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    kwargs: String,
    /// A Python function [default: when the kind has a colon that is not doubled]
    #[arg(long)]
    python: bool,
    /// The queue
    #[arg(long, default_value = "default")]
    queue: String,
    /// Higher first
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    priority: i32,
    /// Start no sooner than this long from now
    #[arg(long, value_name = "DURATION", value_parser = span)]
    delay: Option<Duration>,
    /// Cancel it if it has not started this long from now
    #[arg(long, value_name = "DURATION", value_parser = span)]
    expires: Option<Duration>,
    /// Time limit of one attempt (0 = none) [default: setting task_timeout]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    timeout: Option<Duration>,
    /// Retries after the first failure [default: setting max_retries]
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
    /// A label for people
    #[arg(long)]
    name: Option<String>,
    /// Labels to filter by
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Tasks that must be done first
    #[arg(long = "parent", value_name = "ID")]
    parents: Vec<TaskId>,
    /// What happens to it when a parent fails: fail, run or wait
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = policy)]
    on_parent_failure: OnParentFailure,
    /// At most one unfinished task with this key; a second addition answers the first's id
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Wait for it and print its result
    #[arg(long)]
    wait: bool,
}

fn policy(text: &str) -> Result<OnParentFailure, String> {
    match text {
        "fail" => Ok(OnParentFailure::Fail),
        "run" => Ok(OnParentFailure::Run),
        "wait" => Ok(OnParentFailure::Wait),
        _ => Err("fail, run or wait".into()),
    }
}

impl Add {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let call = self.call()?;
        let taskyard = session.taskyard(Access::Create).await?;
        let task = taskyard.add(call)?;
        let id = task.get_task_id().await?;
        if self.wait {
            crate::out::remark(id);
            return wait::result(session, &task, None).await;
        }
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"id": id, "existing": task.existing()}))?;
        } else {
            out.line(id)?;
        }
        Ok(0)
    }

    fn call(&self) -> Result<Call<Box<RawValue>>, Failure> {
        let mut call = Call::from_payload(&self.kind, Ok(self.payload()?))
            .queue(&self.queue)
            .priority(self.priority)
            .on_parent_failure(self.on_parent_failure)
            .runtime(if self.is_python() { Runtime::Python } else { Runtime::Rust });
        call = self.delay.into_iter().fold(call, Call::delay);
        call = self.expires.into_iter().fold(call, Call::expires);
        call = self.timeout.into_iter().fold(call, Call::timeout);
        call = self.max_retries.into_iter().fold(call, Call::max_retries);
        call = self.name.iter().fold(call, Call::name);
        call = self.tags.iter().fold(call, Call::tag);
        call = self.parents.iter().copied().fold(call, Call::parent_id);
        Ok(self.unique.iter().fold(call, Call::unique))
    }

    /// The arguments' exact bytes, as they were written: nothing is parsed and written anew.
    fn payload(&self) -> Result<Vec<u8>, Failure> {
        let check = |flag: &str, text: &str, first: char, what: &str| match serde_json::from_str::<&RawValue>(text) {
            Ok(value) if value.get().starts_with(first) => Ok(()),
            Ok(_) => Err(Failure::usage(format!("{flag} takes {what}"))),
            Err(error) => Err(Failure::usage(format!("{flag} is no JSON: {error}"))),
        };
        check("--args", &self.args, '[', "a JSON list")?;
        check("--kwargs", &self.kwargs, '{', "a JSON object")?;
        Ok(format!("{{\"args\":{},\"kwargs\":{}}}", self.args.trim(), self.kwargs.trim()).into_bytes())
    }

    fn is_python(&self) -> bool {
        self.python || self.kind.replace("::", "").contains(':')
    }
}
