//! Commands that only read create and change neither a file nor a schema.

use taskyard_testkit::postgres::shared;

use crate::sandbox::Sandbox;

/// All commands that only read.
const READING: &[&[&str]] = &[
    &["queue", "status"],
    &["queue", "stats"],
    &["queue", "servers"],
    &["task", "list"],
    &["task", "show", "01890a5d-ac96-774b-bcce-b302099a8057"],
    &["task", "logs", "01890a5d-ac96-774b-bcce-b302099a8057"],
    &["task", "wait", "01890a5d-ac96-774b-bcce-b302099a8057"],
    &["dead", "list"],
    &["dead", "count"],
    &["dead", "show", "01890a5d-ac96-774b-bcce-b302099a8057"],
    &["schedule", "list"],
    &["schedule", "show", "nightly"],
    &["top", "--once"],
    &["db", "check"],
    &["db", "query", "SELECT 1"],
];

fn all_say(sandbox: &Sandbox, parts: &[&str]) {
    for command in READING {
        let said = sandbox.run(command);
        assert_eq!(said.code, 3, "{command:?}: {said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "{command:?}: {said:?}");
        }
    }
}

#[test]
fn a_server_without_the_schema_is_left_as_it_is() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    all_say(
        &sandbox,
        &["this database contains no queue yet", "`taskyard db migrate` creates it, and so does a server"],
    );
    let status = sandbox.run(&["db", "status"]);
    assert!(status.code == 1 && status.stdout.contains("taskyard db migrate"), "{status:?}");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'taskyard'";
    assert_eq!(shared().psql_in(&database, schemas), "0");
    // Servers without the right to migrate refuse it, too.
    let said = sandbox.run(&["queue", "status", "--set", "auto_migrate=false"]);
    assert!(said.code == 3 && !said.stderr.contains("and so does a server"), "{said:?}");

    sandbox.ok(&["db", "migrate"]);
    assert_eq!(sandbox.run(&["queue", "status"]).code, 1, "no server is alive");
    assert_eq!(sandbox.ok(&["dead", "count"]), "0");
    sandbox.ok(&["db", "check"]);
}

#[test]
fn a_schema_of_another_version_is_left_as_it_is() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    sandbox.ok(&["db", "migrate"]);
    let newest = "SELECT max(version) FROM taskyard.migration";
    shared().psql_in(&database, &format!("DELETE FROM taskyard.migration WHERE version = ({newest})"));
    let older = shared().psql_in(&database, newest);
    all_say(&sandbox, &[&format!("is version {older}"), "`taskyard db migrate` brings it up to date"]);
    assert_eq!(shared().psql_in(&database, newest), older);

    shared().psql_in(&database, "INSERT INTO taskyard.migration (version, name, checksum) VALUES (999, 'later', 'x')");
    all_say(&sandbox, &["is version 999", "install a newer Taskyard"]);
}

#[test]
fn files_are_left_as_they_are() {
    let sandbox = Sandbox::new();
    all_say(&sandbox, &["there is no database yet at", "taskyard db migrate"]);
    assert!(!sandbox.join(".taskyard").exists());

    // A file of the application, and an empty file.
    let make = "import sqlite3\nsqlite3.connect('app.db').execute('create table customer (name text)')";
    let made = std::process::Command::new("python3").args(["-c", make]).current_dir(sandbox.path()).status();
    assert!(made.unwrap().success());
    std::fs::write(sandbox.join("empty.db"), "").unwrap();
    for name in ["app.db", "empty.db"] {
        let before = std::fs::read(sandbox.join(name)).unwrap();
        for command in READING {
            let said = sandbox.run(&[command, &["--database", name][..]].concat());
            assert!(said.code == 3 && said.stderr.contains("taskyard db migrate"), "{name} {command:?}: {said:?}");
        }
        assert!(std::fs::read(sandbox.join(name)).unwrap() == before, "{name} is as it was");
    }
}
