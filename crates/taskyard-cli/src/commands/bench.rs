//! `taskyard bench`, which `taskyard-bench` implements.

use taskyard::Settings;
use taskyard_bench::Bench;
use taskyard_terminal::Failure;

use crate::session::{Access, Session};

/// Runs the measurements on the database of the settings.
///
/// # Errors
/// As [`Bench::run`] and [`Session::store`].
pub(crate) async fn run(bench: &Bench, session: &Session) -> Result<u8, Failure> {
    let settings = Settings { namespace: None, ..session.settings().clone() };
    let queue = session.bind(session.store(Access::Create).await?, settings);
    bench.run(session.out(), queue, &|| session.own_command()).await
}
