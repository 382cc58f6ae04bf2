//! Compares `schema.sql` with a migrated file.

use std::path::Path;

use taskyard_core::Store;
use taskyard_testkit::generated;

use crate::sandbox::Sandbox;

const HEADER: &str = "\
-- A migrated SQLite file, for reading, not for running. Generated from its table sqlite_schema by tests/sqlite/schema.rs.
-- Comments are those of the migrations. Columns that later migrations added follow the last column on its line.";

/// Each table, its indexes and triggers; then the views.
const OBJECTS: &str = "select type = 'table' or type = 'view', sql from sqlite_schema
    where sql is not null and name not like 'sqlite\\_%' escape '\\'
    order by type = 'view', tbl_name, type <> 'table', name";

#[tokio::test]
async fn the_file_describes_a_migrated_file() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let mut text = HEADER.to_owned() + "\n";
    let raw = sandbox.raw();
    let mut statement = raw.prepare(OBJECTS).unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        if row.get(0).unwrap() {
            text.push('\n');
        }
        text += row.get_ref(1).unwrap().as_str().unwrap().trim_end();
        text += ";\n";
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql");
    generated::compare(&file, &text, "--package taskyard-sqlite --test sqlite schema::");
}
