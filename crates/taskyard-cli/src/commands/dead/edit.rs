//! `dead edit ID`: changes arguments, queue, priority or retries of a dead letter, which stays dead.

use clap::Args;
use taskyard::DeadEdit;
use taskyard_terminal::Failure;

use crate::commands::filter::priority;
use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// Change a dead letter, which stays dead
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The task's id, or its first digits
    id: GivenId,
    #[command(flatten)]
    arguments: Arguments,
    /// The new queue
    #[arg(long)]
    queue: Option<String>,
}

/// The changes of an edit other than the queue.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Positional arguments, a JSON list
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Named arguments, a JSON object
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Priority; higher ones run first
    #[arg(long, value_name = "N", value_parser = priority, allow_hyphen_values = true)]
    priority: Option<i32>,
    /// Retries after the first failure
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
}

impl Arguments {
    pub(super) fn edit(&self) -> DeadEdit {
        DeadEdit {
            args: self.args.clone(),
            kwargs: self.kwargs.clone(),
            queue: None,
            priority: self.priority,
            max_retries: self.max_retries,
            language: None,
            ..DeadEdit::default()
        }
    }
}

impl Edit {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let edit = DeadEdit { queue: self.queue.clone(), ..self.arguments.edit() };
        if edit.is_empty() {
            return Err(Failure::usage(
                "nothing to change: give --args, --kwargs, --queue, --priority or --max-retries",
            ));
        }
        let taskyard = session.taskyard(Access::Existing).await?;
        let id = self.id.find(taskyard.store().as_ref()).await?;
        taskyard.edit_dead(id, &edit).await?;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"id": id, "edited": true}))?;
        } else {
            out.line(format_args!("{id} edited; `taskyard dead retry {id}` runs it"))?;
        }
        Ok(0)
    }
}
