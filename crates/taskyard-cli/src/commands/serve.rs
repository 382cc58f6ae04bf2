//! `serve`: the web application, and with `--workers` a server beside it.

use clap::Args;

use super::run::{Run, Workers};
use crate::failure::Failure;
use crate::python;
use crate::session::{Session, environment_for};

/// Serve a Python web application, with `--workers` also its tasks
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The ASGI application, as for uvicorn [default: setting `app`, else main, app or api in this directory]
    #[arg(value_name = "MODULE:APP")]
    app: Option<String>,
    #[command(flatten)]
    workers: Workers,
    /// Run workers only
    #[arg(long, requires = "workers")]
    no_http: bool,
    /// The address that HTTP listens on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: String,
    /// The port that HTTP listens on
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    port: u16,
    /// Further arguments for uvicorn, after `--`
    #[arg(last = true, value_name = "UVICORN ARGUMENTS")]
    uvicorn: Vec<String>,
}

impl Serve {
    /// The settings that its flags say.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        self.workers.flags()
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let mut run = Run::listen()?;
        if self.workers.workers.is_some() {
            run.server(session, self.app.as_deref()).await?;
        }
        if !self.no_http {
            run.web(self.web(session)?);
        }
        run.until_ended(session).await
    }

    fn web(&self, session: &Session) -> Result<tokio::process::Child, Failure> {
        let python = session.python().ok_or_else(|| {
            Failure::usage("this program has no web application to serve")
                .with_hint("`taskyard serve` of the Python package serves one; `queue start` runs tasks")
        })?;
        let app = python::application(self.app.as_deref(), session)?.ok_or_else(|| {
            Failure::usage("there is no application to serve")
                .with_hint("name it: taskyard serve module:app, or app = \"…\" under [tool.taskyard]")
        })?;
        let app = if app.contains(':') { app } else { format!("{app}:app") };
        let port = self.port.to_string();
        let mut arguments = vec!["--host".to_owned(), self.host.clone(), "--port".to_owned(), port];
        arguments.extend(self.uvicorn.iter().cloned());
        let mut command = python.web(&app, &arguments);
        // A group of its own: a Ctrl-C on the terminal is passed on by this process, once.
        command.process_group(0);
        // The same database for both, whichever way it was chosen.
        command.envs(environment_for(session));
        command
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start {}: {error}", python.program.to_string_lossy())))
    }
}
