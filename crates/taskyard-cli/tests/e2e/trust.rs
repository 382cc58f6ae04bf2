//! Files of other users have no effect: neither settings nor databases nor secrets.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::sandbox::{Said, Sandbox};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the owner of a path, which needs root; without root makes it writable by everybody, which is refused as well.
fn make_foreign(path: &Path) {
    if chown(path, Some(65_534), None).is_err() {
        let is_directory = path.is_dir();
        set_mode(path, if is_directory { 0o777 } else { 0o666 });
    }
}

fn make_own(path: &Path, mode: u32) {
    let _ = chown(path, Some(rustix::process::geteuid().as_raw()), None);
    set_mode(path, mode);
}

fn is_refused(said: &Said, path: &Path, root: &Path) {
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains(&format!("{}: ", path.display())), "{said:?}");
    assert!(said.stderr.contains(&format!("--root {} ", root.display())), "the line that trusts it: {said:?}");
}

#[test]
fn a_directory_of_another_user_is_refused_until_it_is_named() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().canonicalize().unwrap();
    std::fs::write(sandbox.join("taskyard.toml"), "database = \"theirs.db\"\n").unwrap();
    make_foreign(&root);
    is_refused(&sandbox.run(&["task", "list"]), &root, &root);
    is_refused(&sandbox.run(&["queue", "start"]), &root, &root);
    let named = sandbox.run(&["task", "list", "--root", &root.display().to_string()]);
    assert!(named.code == 3 && named.stderr.contains("theirs.db"), "its settings count then: {named:?}");
    let mut command = sandbox.taskyard(&["task", "list"]);
    let named = crate::sandbox::said(command.env("TASKYARD_ROOT", &root));
    assert!(named.code == 3 && named.stderr.contains("theirs.db"), "{named:?}");
    let wrong = sandbox.run(&["task", "list", "--root", "no-such-directory"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("no-such-directory"), "{wrong:?}");
    make_own(&root, 0o700);
    assert_eq!(sandbox.run(&["task", "list"]).code, 3);
}

#[test]
fn single_files_of_another_user_are_refused() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().canonicalize().unwrap();
    sandbox.ok(&["db", "migrate"]);
    assert_eq!(sandbox.run(&["task", "list"]).code, 0);
    std::fs::write(sandbox.join("pyproject.toml"), "[tool.taskyard]\n").unwrap();
    std::fs::write(sandbox.join(".env"), "QUEUE_MAX_WORKERS=1\n").unwrap();
    for name in ["taskyard.toml", "pyproject.toml", ".env", ".taskyard", ".taskyard/queue.db"] {
        let path = root.join(name);
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        make_foreign(&path);
        is_refused(&sandbox.run(&["task", "list"]), &path, &root);
        make_own(&path, mode);
        assert_eq!(sandbox.run(&["task", "list"]).code, 0, "{name}");
    }
    // A team's checkout.
    set_mode(&root, 0o775);
    set_mode(&root.join("taskyard.toml"), 0o664);
    assert_eq!(sandbox.run(&["task", "list"]).code, 0);
    // A file that is named on the command line is used.
    let database = root.join(".taskyard/queue.db");
    make_foreign(&database);
    assert_eq!(sandbox.run(&["task", "list", "--database", &database.display().to_string()]).code, 0);
}

#[test]
fn in_a_shared_directory_only_what_is_named_is_used() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().canonicalize().unwrap();
    sandbox.ok(&["db", "migrate", "--database", "named.db"]);
    std::fs::remove_file(sandbox.join("taskyard.toml")).unwrap();
    set_mode(&root, 0o1777);
    assert_eq!(sandbox.run(&["task", "list", "--database", "named.db"]).code, 0, "nothing there is used");
    let refused = sandbox.run(&["db", "migrate"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!sandbox.join(".taskyard").exists());
    // Nor is it used from a directory below.
    std::fs::create_dir(sandbox.join("below")).unwrap();
    std::fs::create_dir(sandbox.join(".git")).unwrap();
    let mut command = sandbox.taskyard(&["db", "migrate"]);
    let said = crate::sandbox::said(command.current_dir(sandbox.join("below")));
    assert!(said.code == 0 && sandbox.join("below/.taskyard/queue.db").exists(), "{said:?}");
}
