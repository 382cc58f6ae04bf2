//! `serve`: runs a Python web application, and with `--workers` also a server for its tasks.

use clap::Args;
use taskyard_terminal::Failure;
use tokio::process::Child;

use super::run::{Run, StartWeb, Workers};
use crate::python;
use crate::session::{Session, environment_for};

/// uvicorn's flag for an application that a factory creates.
const FACTORY: &str = "--factory";

/// Serve a Python web application, with `--workers` also its tasks
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The ASGI application, as for uvicorn, or module:make() that makes it [default: setting `app`, else main, app or api in this directory]
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
    /// Returns the settings given by the command's own flags.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        self.workers.flags()
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let mut run = Run::listen()?;
        if self.workers.reload {
            run.reload(session).await?;
        }
        if self.workers.workers.is_some() {
            let is_factory = self.uvicorn.iter().any(|argument| argument == FACTORY);
            run.server(session, self.app.as_deref(), &self.workers, is_factory).await?;
        }
        let start: &StartWeb<'_> = &|| self.web(session);
        let web = (!self.no_http).then_some(start);
        run.until_ended(session, web).await
    }

    fn web(&self, session: &Session) -> Result<Child, Failure> {
        let python = session.python().ok_or_else(|| {
            Failure::usage("this program is built without Python and cannot serve a web application").with_hint(
                "use `taskyard serve` of the Python package; `taskyard queue start` runs this program's tasks",
            )
        })?;
        let app = python::application(self.app.as_deref(), session)?.ok_or_else(|| {
            Failure::usage("there is no application to serve")
                .with_hint("name it: taskyard serve module:app, or app = \"…\" under [tool.taskyard]")
        })?;
        let (app, is_factory) = python::split_factory(&app);
        let app = if app.contains(':') { app.to_owned() } else { format!("{app}:app") };
        let port = self.port.to_string();
        let mut arguments = vec!["--host".to_owned(), self.host.clone(), "--port".to_owned(), port];
        arguments.extend(self.uvicorn.iter().cloned());
        if is_factory && !self.uvicorn.iter().any(|argument| argument == FACTORY) {
            arguments.push(FACTORY.to_owned());
        }
        let mut command = python.web(&app, &arguments);
        // Its own process group, so that a Ctrl-C on the terminal reaches it once, through this process.
        command.process_group(0);
        // The web application must use the same database as this process, however it was chosen.
        command.envs(environment_for(session));
        command
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start {}: {error}", python.program.to_string_lossy())))
    }
}
