//! `cargo dev neighbours`: applications that use Taskyard together with another library for SQLite or PostgreSQL.
//!
//! A program can contain only one version of `libsqlite3-sys`. `cargo dev lint` resolves the dependencies of each application
//! below with the newest versions that fit; this command also builds and runs them, each with a queue in an SQLite file and one
//! in PostgreSQL. They are generated below `target/`, so that their libraries do not become dependencies of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Steps, cargo, must};

struct Neighbour {
    name: &'static str,
    /// Dependencies other than Taskyard and tokio.
    dependencies: &'static str,
    /// Body of a task that uses the library and returns a text.
    task: &'static str,
    /// Adds `greet()` to `queue` in a transaction on the database `address`.
    adds: &'static str,
}

const NEIGHBOURS: [Neighbour; 5] = [
    Neighbour {
        name: "sqlx",
        dependencies: r#"sqlx = { version = "0.9", default-features = false, features = ["postgres", "runtime-tokio", "sqlite"] }"#,
        task: r#"let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?)"#,
        adds: r#"let pool = sqlx::PgPool::connect(address).await?;
    let mut transaction = pool.begin().await?;
    let id = queue.add_in(&mut transaction, greet()).await?.id();
    transaction.commit().await?;
    Ok(id)"#,
    },
    Neighbour {
        name: "sea-orm",
        dependencies: r#"sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-postgres", "sqlx-sqlite"] }"#,
        task: r#"use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
    let database = Database::connect("sqlite::memory:").await?;
    let row = database.query_one_raw(Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version()")).await?;
    Ok(row.ok_or("no row")?.try_get_by_index(0)?)"#,
        adds: r#"use sea_orm::{ConnectionTrait, Database, DbBackend, Statement, TransactionTrait};
    let transaction = Database::connect(address).await?.begin().await?;
    let addition = queue.enqueue_statement(greet())?;
    let row = transaction
        .query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, addition.sql(), [addition.parameter().into()]))
        .await?;
    transaction.commit().await?;
    Ok(row.ok_or("no row")?.try_get_by_index::<String>(0)?.parse()?)"#,
    },
    Neighbour {
        name: "diesel-async",
        dependencies: r#"diesel = { version = "2", default-features = false }
diesel-async = { version = "0.9", features = ["postgres"] }"#,
        task: r#"Ok("none of its own".to_owned())"#,
        adds: r#"use diesel::sql_types::Text;
    use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
    let mut connection = AsyncPgConnection::establish(address).await?;
    let addition = queue.enqueue_statement(greet())?;
    connection
        .transaction(async |transaction| {
            diesel::sql_query(addition.sql()).bind::<Text, _>(addition.parameter()).execute(transaction).await
        })
        .await?;
    Ok(addition.id())"#,
    },
    Neighbour {
        name: "deadpool",
        dependencies: r#"deadpool-postgres = "0.14"
tokio-postgres = "0.7""#,
        task: r#"Ok("none of its own".to_owned())"#,
        adds: r#"let manager = deadpool_postgres::Manager::new(address.parse()?, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).build()?;
    let mut connection = pool.get().await?;
    let mut transaction = connection.transaction().await?;
    let id = queue.add_in(&mut *transaction, greet()).await?.id();
    transaction.commit().await?;
    Ok(id)"#,
    },
    Neighbour {
        name: "rusqlite",
        dependencies: r#"rusqlite = "0.40"
tokio-postgres = "0.7""#,
        task: r#"let connection = rusqlite::Connection::open_in_memory()?;
    Ok(connection.query_row("SELECT sqlite_version()", (), |row| row.get(0))?)"#,
        adds: r#"let (mut client, connection) = tokio_postgres::connect(address, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let mut transaction = client.transaction().await?;
    let id = queue.add_in(&mut transaction, greet()).await?.id();
    transaction.commit().await?;
    Ok(id)"#,
    },
];

/// Resolves the dependencies of each application.
///
/// # Errors
/// The library whose versions conflict with Taskyard's.
pub fn resolve() -> Result<(), String> {
    for neighbour in &NEIGHBOURS {
        let manifest = write(neighbour)?;
        must(cargo(&["generate-lockfile", "--quiet", "--manifest-path"]).arg(manifest))
            .map_err(|error| format!("Taskyard does not resolve beside {}: {error}", neighbour.name))?;
    }
    Ok(())
}

/// `cargo dev neighbours`.
pub fn run(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err("usage: cargo dev neighbours".into());
    }
    let mut steps = Steps::default();
    steps.check("resolve", resolve);
    for neighbour in &NEIGHBOURS {
        let manifest = write(neighbour)?;
        let mut command = cargo(&["run", "--quiet", "--target-dir", "target/neighbours/target", "--manifest-path"]);
        steps.command(neighbour.name, command.arg(manifest));
    }
    steps.finish()
}

/// Writes an application's files and returns the path of its manifest.
fn write(neighbour: &Neighbour) -> Result<PathBuf, String> {
    let Neighbour { name, dependencies, task, adds } = neighbour;
    let directory = Path::new("target/neighbours").join(name);
    let manifest = directory.join("Cargo.toml");
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| fs::write(path, text))
    };
    let feature = if *name == "sqlx" { "\"sqlx\"" } else { "" };
    let written = write(
        &manifest,
        &format!(
            r#"[package]
name = "beside-{name}"
version = "0.0.0"
edition = "2024"

[dependencies]
taskyard = {{ path = "../../../crates/taskyard", features = [{feature}] }}
taskyard-testkit = {{ path = "../../../crates/taskyard-testkit" }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
{dependencies}

[workspace]
"#
        ),
    )
    .and_then(|()| {
        write(
            &directory.join("src/main.rs"),
            &format!(
                r#"use taskyard::{{TaskId, Taskyard, task}};
use taskyard_testkit::postgres::Cluster;

type Anything = Box<dyn std::error::Error + Send + Sync>;

#[task]
async fn version() -> Result<String, Anything> {{
    {task}
}}

#[task]
async fn greet() -> String {{
    "hello".into()
}}

async fn add(queue: &Taskyard, address: &str) -> Result<TaskId, Anything> {{
    {adds}
}}

#[tokio::main]
async fn main() -> Result<(), Anything> {{
    let file = std::env::temp_dir().join(format!("beside-{name}-{{}}.db", std::process::id()));
    let queue = Taskyard::connect(file.to_str().ok_or("a name")?).await?;
    let server = queue.serve().await?;
    println!("beside {name}: SQLite {{}}", queue.add(version()).await?.wait().await?);
    server.shutdown().await;
    drop(queue);
    for end in ["", "-wal", "-shm"] {{
        let _ = std::fs::remove_file(format!("{{}}{{end}}", file.display()));
    }}
    let cluster = Cluster::start();
    let address = cluster.create_database();
    let queue = Taskyard::connect(&address).await?;
    let server = queue.serve().await?;
    let id = add(&queue, &address).await?;
    println!("beside {name}: added in its transaction: {{}}", queue.get::<String>(id).wait().await?);
    server.shutdown().await;
    Ok(())
}}
"#
            ),
        )
    });
    written.map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(manifest)
}
