//! `cargo dev neighbours`: applications that use another library of SQLite or PostgreSQL beside Taskyard.
//!
//! Only one version of `libsqlite3-sys` can be in a program. The gate resolves each application below with the newest
//! versions that fit; the command builds and runs them, too. They lie below `target/`, so that their libraries are none of
//! Taskyard's own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Steps, cargo, must};

/// Name, its dependencies besides Taskyard and tokio, and what its task does with the other library.
const NEIGHBOURS: [(&str, &str, &str); 3] = [
    (
        "sqlx",
        r#"sqlx = { version = "0.9", default-features = false, features = ["postgres", "runtime-tokio", "sqlite"] }"#,
        r#"let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?)"#,
    ),
    (
        "sea-orm",
        r#"sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-postgres", "sqlx-sqlite"] }"#,
        r#"use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
    let database = Database::connect("sqlite::memory:").await?;
    let row = database.query_one_raw(Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version()")).await?;
    Ok(row.ok_or("no row")?.try_get_by_index(0)?)"#,
    ),
    (
        "rusqlite",
        r#"rusqlite = "0.40""#,
        r#"let connection = rusqlite::Connection::open_in_memory()?;
    Ok(connection.query_row("SELECT sqlite_version()", (), |row| row.get(0))?)"#,
    ),
];

/// Resolves each.
pub fn resolve() -> Result<(), String> {
    for neighbour in NEIGHBOURS {
        let manifest = write(neighbour)?;
        must(cargo(&["generate-lockfile", "--quiet", "--manifest-path"]).arg(manifest))
            .map_err(|error| format!("Taskyard does not resolve beside {}: {error}", neighbour.0))?;
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
    for neighbour in NEIGHBOURS {
        let manifest = write(neighbour)?;
        let mut command = cargo(&["run", "--quiet", "--target-dir", "target/neighbours/target", "--manifest-path"]);
        steps.command(neighbour.0, command.arg(manifest));
    }
    steps.finish()
}

/// Writes an application; its manifest.
fn write((name, dependencies, body): (&str, &str, &str)) -> Result<PathBuf, String> {
    let directory = Path::new("target/neighbours").join(name);
    let manifest = directory.join("Cargo.toml");
    let place = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| fs::write(path, text))
    };
    let written = place(
        &manifest,
        &format!(
            r#"[package]
name = "beside-{name}"
version = "0.0.0"
edition = "2024"

[dependencies]
taskyard = {{ path = "../../../crates/taskyard" }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
{dependencies}

[workspace]
"#
        ),
    )
    .and_then(|()| {
        place(
            &directory.join("src/main.rs"),
            &format!(
                r#"use taskyard::{{Taskyard, task}};

#[task]
async fn version() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {{
    {body}
}}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {{
    let file = std::env::temp_dir().join(format!("beside-{name}-{{}}.db", std::process::id()));
    let queue = Taskyard::connect(file.to_str().ok_or("a name")?).await?;
    let server = queue.serve().await?;
    println!("beside {name}: SQLite {{}}", queue.add(version()).await?.wait().await?);
    server.shutdown().await;
    drop(queue);
    for end in ["", "-wal", "-shm"] {{
        let _ = std::fs::remove_file(format!("{{}}{{end}}", file.display()));
    }}
    Ok(())
}}
"#
            ),
        )
    });
    written.map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(manifest)
}
