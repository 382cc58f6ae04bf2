//! `queue pause`, `queue resume`, `queue limit`, `queue rate`: change the stored options of a queue.

use clap::Args;
use taskyard::Rate;
use taskyard_terminal::Failure;

use crate::session::{Access, Session};

/// A queue
#[derive(Debug, Args)]
pub(crate) struct QueueName {
    /// The queue's name
    queue: String,
}

/// Limit a queue
#[derive(Debug, Args)]
pub(crate) struct Limit {
    /// The queue's name
    queue: String,
    /// Most tasks at once over all servers, or `none`
    #[arg(value_name = "N|none", value_parser = running_max)]
    running_max: RunningMax,
}

#[derive(Clone, Copy, Debug)]
struct RunningMax(Option<u32>);

fn running_max(text: &str) -> Result<RunningMax, String> {
    match text {
        "none" => Ok(RunningMax(None)),
        _ => match text.parse::<u32>() {
            Ok(0) => Err("0 would stop the queue: use `taskyard queue pause`".into()),
            Ok(number) => Ok(RunningMax(Some(number))),
            Err(_) => Err("expected a whole number from 1, or `none`".into()),
        },
    }
}

/// Limit how many tasks of a queue start per period
#[derive(Debug, Args)]
pub(crate) struct RateLimit {
    /// The queue's name
    queue: String,
    /// Most starts per period over all servers (100/m, 5/s, 20/10m), or `none`
    #[arg(value_name = "N/TIME|none", value_parser = rate)]
    rate: GivenRate,
}

#[derive(Clone, Copy, Debug)]
struct GivenRate(Option<Rate>);

fn rate(text: &str) -> Result<GivenRate, String> {
    match text {
        "none" => Ok(GivenRate(None)),
        _ => text.parse().map(|rate| GivenRate(Some(rate))).map_err(|error: taskyard::Error| error.to_string()),
    }
}

fn check(session: &Session, name: &str) -> Result<(), Failure> {
    Ok(session.settings().limits.check_name("queue", name)?)
}

impl QueueName {
    pub(super) async fn pause(&self, session: &Session, paused: bool) -> Result<u8, Failure> {
        check(session, &self.queue)?;
        let store = session.store(Access::Create).await?;
        store.set_paused(&self.queue, paused).await?;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"queue": self.queue, "paused": paused}))?;
        } else if paused {
            out.line(format_args!("queue `{}` is paused: running tasks go on, no other task starts", self.queue))?;
        } else {
            out.line(format_args!("queue `{}` is running", self.queue))?;
        }
        Ok(0)
    }
}

impl Limit {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        check(session, &self.queue)?;
        let store = session.store(Access::Create).await?;
        store.set_limit(&self.queue, self.running_max.0).await?;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"queue": self.queue, "running_max": self.running_max.0}))?;
        } else {
            let limit = self.running_max.0.map_or_else(|| "no limit on".into(), |max| format!("at most {max}"));
            out.line(format_args!("queue `{}`: {limit} running tasks over all servers", self.queue))?;
        }
        Ok(0)
    }
}

impl RateLimit {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        session.taskyard(Access::Create).await?.rate_queue(&self.queue, self.rate.0).await?;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"queue": self.queue, "rate": self.rate.0}))?;
        } else if let Some(rate) = self.rate.0 {
            out.line(format_args!("queue `{}`: rate limit {rate} over all servers", self.queue))?;
        } else {
            out.line(format_args!("queue `{}`: no rate limit", self.queue))?;
        }
        Ok(0)
    }
}
