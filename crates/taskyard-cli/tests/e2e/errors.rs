//! Databases that cannot be used: a clear sentence, an exit code other than 0, and no change.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{Said, Sandbox, said};

/// Asserts one sentence, at most one hint, and no panic.
fn is_clear(said: &Said, code: i32, part: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
    let errors: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said:?}");
    assert!(errors[0].contains(part), "{said:?}");
    assert!(!said.stderr.contains("panicked") && said.stderr.lines().count() <= 3, "{said:?}");
}

#[test]
fn addresses_that_name_nothing() {
    let sandbox = Sandbox::new();
    for (address, code, part) in [
        ("mysql://h/d", 2, "mysql"),
        ("postgresql://user:secret@127.0.0.1:1/none", 3, "cannot reach the database"),
        ("no-such-directory/queue.db", 3, "no-such-directory"),
        ("/proc/nowhere/queue.db", 3, "/proc/nowhere"),
    ] {
        let said = sandbox.run(&["task", "add", "k", "--database", address]);
        is_clear(&said, code, part);
        assert!(!said.stderr.contains("secret"), "{said:?}");
    }
    is_clear(&sandbox.run(&["task", "list"]), 3, "there is no database yet");
    is_clear(&sandbox.run(&["task", "list", "--database", "none.db"]), 3, "none.db");
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn files_that_are_not_databases_stay_as_they_are() {
    let sandbox = Sandbox::new();
    let text = "this is a letter and no database, long enough to hold a header\n".repeat(100);
    std::fs::write(sandbox.join("letter.db"), &text).unwrap();
    for arguments in [&["task", "list"][..], &["task", "add", "k"], &["db", "migrate"], &["queue", "start"]] {
        let said = sandbox.run(&[arguments, &["--database", "letter.db"]].concat());
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.stderr.contains("error: ") && said.stderr.contains("letter.db"), "{said:?}");
    }
    assert_eq!(std::fs::read_to_string(sandbox.join("letter.db")).unwrap(), text);

    std::fs::create_dir(sandbox.join("directory.db")).unwrap();
    is_clear(&sandbox.run(&["task", "add", "k", "--database", "directory.db"]), 3, "directory.db");
}

#[test]
fn a_damaged_file_stays_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["task", "add", "k", "--database", "queue.db"]);
    sandbox.ok(&["db", "migrate", "--database", "queue.db"]);
    let mut bytes = std::fs::read(sandbox.join("queue.db")).unwrap();
    for name in ["queue.db-wal", "queue.db-shm"] {
        let _ = std::fs::remove_file(sandbox.join(name));
    }
    bytes.truncate(bytes.len() / 2);
    bytes[100..2_000].fill(0xA5);
    std::fs::write(sandbox.join("queue.db"), &bytes).unwrap();
    let said = sandbox.run(&["task", "list", "--database", "queue.db"]);
    assert!(said.code == 3 && said.stderr.contains("damaged"), "{said:?}");
    assert_eq!(std::fs::read(sandbox.join("queue.db")).unwrap(), bytes);
}

#[test]
fn a_newer_schema_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["task", "add", "k"]);
    let connection = std::process::Command::new("python3")
        .args(["-c", NEWER])
        .arg(sandbox.join(".taskyard/queue.db"))
        .output()
        .expect("python3 is there");
    assert!(connection.status.success(), "{connection:?}");
    for arguments in
        [&["task", "list"][..], &["task", "add", "k"], &["db", "migrate"], &["db", "status"], &["queue", "start"]]
    {
        let said = sandbox.run(arguments);
        assert!(said.code == 3 && said.stderr.contains("version 9999"), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains("hint: install a newer Taskyard"), "{said:?}");
    }
}

/// Simulates the schema of a later version of this program.
const NEWER: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
columns = [row[1] for row in db.execute('pragma table_info(ty_migration)')]
row = db.execute('select * from ty_migration order by version desc limit 1').fetchone()
values = [9999 if name == 'version' else value for name, value in zip(columns, row)]
db.execute('insert into ty_migration values (%s)' % ','.join('?' * len(values)), values)
db.commit()
";

#[test]
fn directories_that_may_not_be_written() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.join("closed")).unwrap();
    std::fs::set_permissions(sandbox.join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    std::fs::set_permissions(sandbox.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = sandbox.join("taskyard");
    std::fs::copy(env!("CARGO_BIN_EXE_taskyard"), &program).unwrap();
    let mut command = crate::demo::unprivileged(&program);
    command.current_dir(sandbox.path()).args(["task", "add", "k", "--database", "closed/queue.db"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    is_clear(&said(&mut command), 3, "closed");
    assert_eq!(std::fs::read_dir(sandbox.join("closed")).unwrap().count(), 0);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["task", "add", "k", "--args", "{}"][..],
        &["task", "add", "k", "--args", "[1"],
        &["task", "add", "k", "--kwargs", "[]"],
        &["task", "add", "k", "--delay", "soon"],
        &["task", "add", "k", "--queue", ""],
        &["task", "add", "bad\nkind"],
        &["task", "show", "not-an-id"],
        &["task", "list", "--state", "lost"],
        &["task", "list", "--limit", "0"],
    ] {
        let said = sandbox.run(arguments);
        assert!(said.code == 2 && said.stderr.contains("error"), "{arguments:?}: {said:?}");
    }
    let parent = sandbox.run(&["task", "add", "k", "--parent", "01890a5d-ac96-774b-bcce-b302099a8057"]);
    is_clear(&parent, 2, "parent that does not exist");
    let large = format!("[\"{}\"]", "x".repeat(100_000));
    let over = sandbox.run(&["task", "add", "k", "--args", &large, "--set", "arguments_bytes_max=1000"]);
    is_clear(&over, 2, "arguments_bytes_max");
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let sandbox = Sandbox::new();
    for _ in 0..3 {
        sandbox.ok(&["task", "add", "k"]);
    }
    let line = format!("{} task list | true", env!("CARGO_BIN_EXE_taskyard"));
    let mut command = std::process::Command::new("bash");
    command.args(["-o", "pipefail", "-c", &line]).current_dir(sandbox.path());
    let said = said(&mut command);
    assert!(said.code == 0 && said.stderr.is_empty(), "{said:?}");
}
