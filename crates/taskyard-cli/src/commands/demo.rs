//! `taskyard demo`, which `taskyard-bench` implements.

use taskyard::Settings;
use taskyard_bench::Demo;
use taskyard_terminal::{Failure, remark};

use crate::commands::Interrupts;
use crate::session::{Session, shown};

/// Runs the demo on its own database, or on that of `--database`.
///
/// # Errors
/// As [`Demo::prepare`] and [`taskyard_bench::PreparedDemo::run`]; a failure with exit code 1 if the handlers of signals cannot
/// be installed; otherwise the error of opening the database.
pub(crate) async fn run(demo: &Demo, session: &Session) -> Result<u8, Failure> {
    let settings = Settings { database: session.database_flag().map(str::to_owned), ..session.settings().clone() };
    let demo = demo.prepare(&settings, session.root())?;
    remark(format_args!("database: {}", shown(demo.settings.database.as_deref().unwrap_or_default())));
    let mut interrupts = Interrupts::listen()?;
    let queue = session.bind(session.open(&demo.settings).await?, demo.settings.clone());
    demo.run(session.out(), queue, async || interrupts.next().await.name).await
}
