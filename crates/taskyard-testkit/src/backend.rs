//! Cases that run on both kinds of database, and the macro that creates their tests.
//!
//! This is for tests of whole programs, which open a database by its address. What a store itself must do is a case of
//! [`conformance!`](crate::conformance!).

use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::postgres::shared;

/// A kind of database, on which a case creates as many as it needs.
#[derive(Debug)]
pub enum Backend {
    /// Files in this directory, which is deleted with the value.
    Sqlite(TempDir),
    /// Databases of the [`shared`] cluster.
    Postgres,
}

impl Backend {
    /// Returns SQLite with a new directory.
    ///
    /// # Panics
    /// If the directory cannot be created.
    #[must_use]
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Creates an empty database (for SQLite: chooses a new path) and returns its address.
    ///
    /// # Panics
    /// As [`shared`].
    #[must_use]
    pub fn create_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        match self {
            Self::Sqlite(directory) => {
                let file = format!("{}.db", NUMBER.fetch_add(1, Ordering::Relaxed));
                directory.path().join(file).to_str().expect("the path is UTF-8").to_owned()
            }
            Self::Postgres => shared().create_database(),
        }
    }
}

/// Runs a case in a multi-threaded runtime of its own. For use by [`on_both_stores!`](crate::on_both_stores!) only.
///
/// # Panics
/// If the case does.
#[doc(hidden)]
pub fn run<F: Future<Output = ()>>(backend: Backend, case: impl FnOnce(Backend) -> F) {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(case(backend));
}

/// Creates two tests of each case: `sqlite::CASE` and `postgres::CASE`. Used once per file.
///
/// A case is an async function that takes a [`Backend`]:
///
/// ```ignore
/// async fn additions_are_stored(backend: Backend) {
///     let queue = Taskyard::connect(&backend.create_database()).await.unwrap();
///     ..
/// }
///
/// taskyard_testkit::on_both_stores! { additions_are_stored }
/// ```
#[macro_export]
macro_rules! on_both_stores {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[test]
                fn $case() {
                    $crate::backend::run($crate::backend::Backend::sqlite(), super::$case);
                }
            )+
        }

        mod postgres {
            $(
                #[test]
                fn $case() {
                    $crate::backend::run($crate::backend::Backend::Postgres, super::$case);
                }
            )+
        }
    };
}
