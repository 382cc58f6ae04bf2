//! The flags that say which function is called with what: shared by `task add` and `schedule add`.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use taskyard::{Call, Runtime};
use taskyard_core::namespace::kind_in;
use taskyard_core::settings::Settings;

use crate::commands::filter::span;
use crate::failure::Failure;

/// Which function, with what.
#[derive(Debug, Args)]
pub(crate) struct Work {
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
    /// Higher first
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

impl Work {
    /// The call.
    ///
    /// # Errors
    /// Arguments that are no JSON.
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

    /// The language of the function.
    pub(crate) fn runtime(&self) -> Runtime {
        if self.is_python() { Runtime::Python } else { Runtime::Rust }
    }

    /// Its kind, as it is stored.
    pub(crate) fn stored_kind(&self, settings: &Settings) -> String {
        kind_in(settings.namespace.as_ref(), &self.kind)
    }

    fn is_python(&self) -> bool {
        self.python || self.kind.replace("::", "").contains(':')
    }
}
