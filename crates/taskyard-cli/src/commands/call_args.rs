//! Flags for the function to call, its arguments and options, shared by `task add` and `schedule add`.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use taskyard::{Call, Runtime};
use taskyard_core::namespace::kind_in;
use taskyard_core::settings::Settings;
use taskyard_terminal::Failure;

use crate::commands::filter::span;

/// The function to call, its arguments and the task's options.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The function's path (Rust) or module:name (Python); NAMESPACE/PATH in another namespace, /PATH in none
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
    /// Priority; higher ones run first
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    priority: i32,
    /// Cancel it if it has not started this long from when it was added
    #[arg(long, value_name = "DURATION", value_parser = span)]
    expires: Option<Duration>,
    /// Time limit of one attempt (0 = none) [default: setting task_timeout]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    timeout: Option<Duration>,
    /// Retries after the first failure [default: setting max_retries]
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
    /// A label for people
    #[arg(long = "name", value_name = "LABEL")]
    name: Option<String>,
    /// Labels to filter by
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl CallArgs {
    /// Builds the call.
    ///
    /// # Errors
    /// A usage failure (exit code 2) if `--args` is not a JSON list or `--kwargs` is not a JSON object.
    pub(crate) fn call(&self) -> Result<Call<Box<RawValue>>, Failure> {
        let mut call = Call::from_payload(&self.kind, Ok(self.payload()?))
            .queue(&self.queue)
            .priority(self.priority)
            .runtime(self.runtime());
        call = self.expires.into_iter().fold(call, Call::expires);
        call = self.timeout.into_iter().fold(call, Call::timeout);
        call = self.max_retries.into_iter().fold(call, Call::max_retries);
        call = self.name.iter().fold(call, Call::name);
        Ok(self.tags.iter().fold(call, Call::tag))
    }

    /// Returns the payload with the exact bytes of the arguments. They are not parsed and re-serialised, so that numbers keep every
    /// digit.
    fn payload(&self) -> Result<Vec<u8>, Failure> {
        let check = |flag: &str, text: &str, first: char, what: &str| match serde_json::from_str::<&RawValue>(text) {
            Ok(value) if value.get().starts_with(first) => Ok(()),
            Ok(_) => Err(Failure::usage(format!("{flag} takes {what}"))),
            Err(error) => Err(Failure::usage(format!("{flag} is not valid JSON: {error}"))),
        };
        check("--args", &self.args, '[', "a JSON list")?;
        check("--kwargs", &self.kwargs, '{', "a JSON object")?;
        Ok(format!("{{\"args\":{},\"kwargs\":{}}}", self.args.trim(), self.kwargs.trim()).into_bytes())
    }

    /// Returns the language of the function.
    pub(crate) fn runtime(&self) -> Runtime {
        if self.is_python() { Runtime::Python } else { Runtime::Rust }
    }

    /// Returns the kind as it is stored, with the namespace.
    pub(crate) fn stored_kind(&self, settings: &Settings) -> String {
        kind_in(settings.namespace.as_ref(), &self.kind)
    }

    fn is_python(&self) -> bool {
        self.python || self.kind.replace("::", "").contains(':')
    }
}
