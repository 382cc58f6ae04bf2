//! `queue start`: runs a server for the tasks that are linked into this program, or for the tasks of a Python application.

use clap::Args;
use taskyard_terminal::Failure;

use crate::commands::run::{Run, Workers};
use crate::session::Session;

/// Run a server
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    workers: Workers,
    /// The Python application whose functions are run, or module:make() that makes it [default: setting `app`, else main, app or api in this directory]
    #[arg(long, value_name = "MODULE:ATTRIBUTE")]
    app: Option<String>,
}

impl Start {
    pub(super) fn flags(&self) -> Vec<(String, String)> {
        self.workers.flags()
    }

    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let mut run = Run::listen()?;
        if self.workers.reload {
            run.reload(session).await?;
        }
        run.server(session, self.app.as_deref(), &self.workers, false).await?;
        run.until_ended(session, None).await
    }
}
