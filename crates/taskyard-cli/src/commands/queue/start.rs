//! `queue start`: a server of the tasks that are linked into this program, or of a Python application's.

use clap::Args;

use crate::commands::run::{Run, Workers};
use crate::failure::Failure;
use crate::session::Session;

/// Run a server
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    workers: Workers,
    /// The Python application whose functions are run [default: setting `app`, else main, app or api in this directory]
    #[arg(long, value_name = "MODULE:ATTRIBUTE")]
    app: Option<String>,
}

impl Start {
    pub(super) fn flags(&self) -> Vec<(String, String)> {
        self.workers.flags()
    }

    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let mut run = Run::listen()?;
        run.server(session, self.app.as_deref()).await?;
        run.until_ended(session).await
    }
}
