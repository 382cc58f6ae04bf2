//! `queue purge`: deletes finished tasks by filter. Dead letters and stopped tasks only if `--state` names their state.

use std::time::Duration;

use clap::Args;
use taskyard::TaskState;
use taskyard_terminal::{Failure, humanize};

use crate::commands::bulk;
use crate::commands::filter::{FilterArgs, ago, span, state};
use crate::confirm::confirm;
use crate::session::{Access, Session};

/// Delete finished tasks
#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    by: FilterArgs,
    /// In these states (done, cancelled, failed, stopped), separated by commas
    #[arg(long, value_name = "STATE", value_parser = state, value_delimiter = ',', default_value = "done,cancelled")]
    state: Vec<TaskState>,
    /// Finished at least this long ago (30, 5m, 2h, 7d)
    #[arg(long, value_name = "AGE", value_parser = span)]
    older_than: Option<Duration>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Purge {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        if let Some(state) = self.state.iter().find(|state| !state.is_final()) {
            return Err(Failure::usage(format!("--state {state}: such tasks have not finished and are never deleted"))
                .with_hint("`taskyard queue clear` cancels waiting and enqueued tasks"));
        }
        run(session, &self.by, &self.state, self.older_than, self.yes).await
    }
}

async fn run(
    session: &Session,
    by: &FilterArgs,
    states: &[TaskState],
    older_than: Option<Duration>,
    yes: bool,
) -> Result<u8, Failure> {
    let store = session.store(Access::Existing).await?;
    let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let age = older_than.map_or(String::new(), |age| format!(" that ended over {} ago", humanize::span(age)));
    let what = format!("{} tasks{}{age}", words.join(", "), by.words(session.settings()));
    confirm(yes, &format!("Delete all {what} from {}?", session.address()))?;
    let mut filter = by.states(session.settings(), states);
    filter.finished_before = ago(store.as_ref(), older_than).await?;
    let deleted = bulk::purge(store.as_ref(), &filter).await?;
    let out = session.out();
    if out.is_json() {
        out.json(&serde_json::json!({"deleted": deleted}))?;
    } else {
        out.line(format_args!("{} tasks deleted", humanize::number(deleted)))?;
    }
    Ok(0)
}
