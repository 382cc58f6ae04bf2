//! `db migrate` and `db status`.

use taskyard::{Error, Settings};
use taskyard_terminal::{Failure, Table};

use crate::session::{Access, Session};

/// Name of the schema's functions in the list of pending migrations.
const FUNCTIONS: &str = "functions";

/// Returns the schema's version, the version that this program needs, and whether the schema's functions must be replaced: they
/// are of an older build, missing, or executable by everybody.
///
/// # Errors
/// [`Error`] if the database cannot be opened, other than [`Error::SchemaTooOld`].
async fn versions(session: &Session, access: Access) -> Result<(i64, i64, bool), Failure> {
    let settings = Settings { auto_migrate: false, ..session.settings().clone() };
    match session.store_with(&settings, access).await? {
        Ok(store) => {
            let schema = store.schema().await?;
            Ok((schema.found, schema.known, schema.pending.iter().any(|name| name == FUNCTIONS)))
        }
        Err(Error::SchemaTooOld { found, needed }) => Ok((found, needed, false)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn migrate(session: &Session) -> Result<u8, Failure> {
    let (from, _, was_outdated) = versions(session, Access::Create).await?;
    let settings = Settings { auto_migrate: true, ..session.settings().clone() };
    let store = session.open(&settings).await?;
    let schema = store.schema().await?;
    let to = schema.found;
    if schema.pending.iter().any(|name| name == FUNCTIONS) {
        return Err(Failure::work(format!(
            "{}: the functions of the schema are of an older build, missing or executable by everybody, and this role may not replace them",
            session.address()
        ))
        .with_hint("run `taskyard db migrate` as the role that owns the schema taskyard"));
    }
    let out = session.out();
    if out.is_json() {
        out.json(&serde_json::json!({
            "database": session.address(), "from": from, "to": to, "functions": was_outdated || from != to,
        }))?;
    } else if from != to {
        out.line(format_args!("{}: migrated the schema from version {from} to {to}", session.address()))?;
    } else if was_outdated {
        out.line(format_args!(
            "{}: the schema is at version {to}; its functions were replaced by this build's",
            session.address()
        ))?;
    } else {
        out.line(format_args!("{}: the schema is at version {to}; nothing to do", session.address()))?;
    }
    Ok(0)
}

pub(super) async fn status(session: &Session) -> Result<u8, Failure> {
    let (found, known, outdated) = versions(session, Access::Read).await?;
    let is_current = found == known && !outdated;
    let out = session.out();
    if out.is_json() {
        out.json(&serde_json::json!({
            "database": session.address(), "version": found, "needed": known, "current": is_current,
            "functions_outdated": outdated,
        }))?;
    } else {
        let mut table = Table::new(["", ""]);
        table.row(["database", &session.address()]);
        table.row(["schema", &format!("version {found}")]);
        table.row(["this program", &format!("version {known}")]);
        let state = match (is_current, outdated) {
            (true, _) => "current",
            (false, true) => {
                "its functions are of an older build, missing or executable by everybody: run `taskyard db migrate`"
            }
            (false, false) => "behind: run `taskyard db migrate`",
        };
        table.row(["state", state]);
        out.table(table)?;
    }
    Ok(u8::from(!is_current))
}
