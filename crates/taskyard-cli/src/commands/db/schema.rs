//! `db migrate` and `db status`.

use taskyard::{Error, Settings};

use crate::failure::Failure;
use crate::grid::Grid;
use crate::session::{Access, Session};

/// The version that is there, the version that this program needs.
async fn versions(session: &Session, access: Access) -> Result<(i64, i64), Failure> {
    let settings = Settings { auto_migrate: false, ..session.settings().clone() };
    match session.store_with(&settings, access).await? {
        Ok(store) => {
            let schema = store.schema().await?;
            Ok((schema.found, schema.known))
        }
        Err(Error::SchemaTooOld { found, needed }) => Ok((found, needed)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn migrate(session: &Session) -> Result<u8, Failure> {
    let (from, _) = versions(session, Access::Create).await?;
    let settings = Settings { auto_migrate: true, ..session.settings().clone() };
    let store = session.open(&settings).await?;
    let to = store.schema().await?.found;
    let out = session.out();
    if out.is_json() {
        out.json(&serde_json::json!({"database": session.address(), "from": from, "to": to}))?;
    } else if from == to {
        out.line(format_args!("{}: the schema is at version {to}; nothing to do", session.address()))?;
    } else {
        out.line(format_args!("{}: the schema went from version {from} to {to}", session.address()))?;
    }
    Ok(0)
}

pub(super) async fn status(session: &Session) -> Result<u8, Failure> {
    let (found, known) = versions(session, Access::Existing).await?;
    let is_current = found == known;
    let out = session.out();
    if out.is_json() {
        out.json(&serde_json::json!({
            "database": session.address(), "version": found, "needed": known, "current": is_current,
        }))?;
    } else {
        let mut grid = Grid::new(["", ""]);
        grid.row(["database", &session.address()]);
        grid.row(["schema", &format!("version {found}")]);
        grid.row(["this program", &format!("version {known}")]);
        grid.row(["state", if is_current { "current" } else { "behind: run `taskyard db migrate`" }]);
        out.grid(grid)?;
    }
    Ok(u8::from(!is_current))
}
