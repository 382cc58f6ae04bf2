//! `queue status`: exit code 0 healthy, 1 without a live server or with a task that has been runnable for too long.

use std::time::Duration;

use clap::Args;
use taskyard::TaskState;

use crate::commands::filter::span;
use crate::failure::Failure;
use crate::grid::Grid;
use crate::moment;
use crate::session::{Access, Session};

/// Say whether the queue is healthy
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Unhealthy when a task was runnable for longer [default: setting unhealthy_age, 5m]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    max_age: Option<Duration>,
}

impl Status {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let status = store.status().await?;
        let max_age = self.max_age.unwrap_or(session.settings().unhealthy_age);
        let mut problems = Vec::new();
        if status.servers_alive == 0 {
            problems.push("no server is alive".to_owned());
        }
        if let Some(age) = status.oldest_enqueued.filter(|age| *age > max_age) {
            problems.push(format!(
                "the oldest enqueued task has been runnable for {}, over {}",
                moment::span(age),
                moment::span(max_age)
            ));
        }
        if status.misplaced > 0 {
            problems.push(
                "enqueued tasks are missing from the runnable range, so that nothing runs them (a running server puts them \
                 back; so does `taskyard db check --repair`)"
                    .to_owned(),
            );
        }
        let out = session.out();
        let by_state = TaskState::ALL.iter().map(|state| (state.as_str(), status.by_state[state.code() as usize]));
        if out.is_json() {
            out.json(&serde_json::json!({
                "healthy": problems.is_empty(),
                "problems": problems,
                "backend": store.backend(),
                "database": session.address(),
                "servers_alive": status.servers_alive,
                "tasks": by_state.map(|(name, count)| (name.to_owned(), count.into())).collect::<serde_json::Map<_, _>>(),
                "parked": status.parked,
                "oldest_enqueued_seconds": status.oldest_enqueued.map(|age| age.as_secs_f64()),
            }))?;
        } else {
            let mut grid = Grid::new(["", ""]);
            grid.row(["database", &session.address()]);
            grid.row(["servers alive", &status.servers_alive.to_string()]);
            for (name, count) in by_state {
                grid.row([name, &moment::number(count)]);
            }
            grid.row(["parked", &moment::number(status.parked)]);
            grid.row(["oldest enqueued", &status.oldest_enqueued.map_or_else(|| "-".into(), moment::span)]);
            grid.row(["health", &if problems.is_empty() { "good".to_owned() } else { problems.join("; ") }]);
            out.grid(grid)?;
        }
        Ok(u8::from(!problems.is_empty()))
    }
}
