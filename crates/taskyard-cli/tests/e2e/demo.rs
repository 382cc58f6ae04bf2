//! The demo on a directory with every type of entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Said, Sandbox, said};

/// Returns the program, run as a user without the right to read everything: this user, or the user `nobody` when the tests run as root.
pub fn unprivileged(program: &Path) -> Command {
    let is_root = fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

fn write(root: &Path, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
    let path = root.join(Path::new(name.as_ref()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Creates regular files, and entries that must be skipped.
fn tree(root: &Path) {
    write(root, "a.txt", "one\ntwo\n");
    write(root, "b/copy.txt", "one\ntwo\n");
    write(root, "b/c/copy again.txt", "one\ntwo\n");
    write(root, "empty", "");
    write(root, "no-newline", "last line without its end");
    write(root, "large.bin", vec![7_u8; 3 << 20]);
    write(root, "new\nline \u{202e}\u{1b}[31m.txt", "odd name");
    write(root, OsStr::from_bytes(b"not-utf8-\xff\xfe"), "exact name");
    write(root, ".hidden", "x");
    write(root, "sub/target.txt", "a file called so is read");
    for name in [".git/HEAD", "sub/.git/config", "target/debug/x", "web/node_modules/x/y", "sub/.taskyard/x.db"] {
        write(root, name, "left out");
    }
    symlink(root.join("a.txt"), root.join("link")).unwrap();
    symlink(root, root.join("b/loop")).unwrap();
    symlink("/no/such/file", root.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}

/// Returns the digests computed by coreutils, by the bytes of the relative path.
fn digests(root: &Path, paths: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    paths
        .iter()
        .map(|path| {
            let output = Command::new("sha256sum").arg("-z").arg(path).current_dir(root).output().unwrap();
            (path.clone(), String::from_utf8_lossy(&output.stdout[..64]).into_owned())
        })
        .collect()
}

/// Returns the exact path of an item.
fn path_of(item: &Value) -> PathBuf {
    use base64::Engine as _;
    match item["path_b64"].as_str() {
        Some(text) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
            assert!(item["path"].as_str().unwrap().contains('\u{fffd}'));
            PathBuf::from(OsStr::from_bytes(&bytes))
        }
        None => PathBuf::from(item["path"].as_str().unwrap()),
    }
}

pub fn report(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn every_regular_file_is_read_once_and_nothing_else_is_touched() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    tree(&root);
    let said = sandbox.run(&["demo", "tree", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let report = report(&said);
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let mut documented = ["files", "bytes", "failed", "skipped", "items", "duplicates", "failures"];
    documented.sort_unstable();
    assert_eq!(keys, documented);

    let items = report["items"].as_array().unwrap();
    let paths: Vec<PathBuf> = items.iter().map(path_of).collect();
    let mut expected: Vec<PathBuf> = [
        "a.txt",
        "b/copy.txt",
        "b/c/copy again.txt",
        "empty",
        "no-newline",
        "large.bin",
        "new\nline \u{202e}\u{1b}[31m.txt",
        ".hidden",
        "sub/target.txt",
    ]
    .map(PathBuf::from)
    .to_vec();
    expected.push(PathBuf::from(OsStr::from_bytes(b"not-utf8-\xff\xfe")));
    let sorted = |mut paths: Vec<PathBuf>| {
        paths.sort();
        paths
    };
    assert_eq!(sorted(paths.clone()), sorted(expected));
    let digests = digests(&root, &paths);
    for (path, item) in paths.iter().zip(items) {
        assert_eq!(item["sha256"], json!(digests[path]), "{path:?}");
        let content = fs::read(root.join(path)).unwrap();
        assert_eq!(item["bytes"], content.len(), "{path:?}");
        assert_eq!(item["lines"], content.iter().filter(|byte| **byte == b'\n').count(), "{path:?}");
        let gzip = Command::new("gzip").args(["-nc", "--"]).arg(root.join(path)).output().unwrap().stdout;
        let (ours, theirs) = (item["gzip_bytes"].as_f64().unwrap(), gzip.len() as f64);
        assert!((ours - theirs).abs() <= 20.0 + theirs * 0.2, "{path:?}: {ours} {theirs}");
        assert_eq!(item.as_object().unwrap().contains_key("path_b64"), path.to_str().is_none());
    }
    assert_eq!(report["files"], 10);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["skipped"], 2, "the pipe and the socket");
    assert_eq!(report["bytes"], items.iter().map(|item| item["bytes"].as_u64().unwrap()).sum::<u64>());
    assert_eq!(report["duplicates"], json!([["a.txt", "b/copy.txt", "b/c/copy again.txt"]]));
    assert_eq!(report["failures"], json!([]));
    // The same object is stored, no unsafe character reaches a terminal, and only Taskyard's directory was added to the tree.
    assert_eq!(fs::read_to_string(root.join(".taskyard/demo-report.json")).unwrap(), said.stdout);
    assert!(!said.stdout.contains(['\u{202e}', '\u{1b}']));
    assert!(
        said.stderr.lines().any(|line| line.starts_with("database: /") && line.ends_with("tree/.taskyard/demo.db"))
    );
}

#[test]
fn people_get_tables_and_a_finished_run_is_followed_by_a_new_one() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    tree(&root);
    let first = said(sandbox.taskyard(&["demo"]).current_dir(&root));
    assert_eq!(first.code, 0, "{first:?}");
    for part in ["files", "10", "large.bin", "3.0 MiB", "b/copy.txt", "duplicates", "the whole report: /"] {
        assert!(first.stdout.contains(part), "{part}: {first:?}");
    }
    assert!(!first.stdout.contains('\u{1b}'), "{first:?}");
    let database = root.join(".taskyard/demo.db").display().to_string();
    let tasks = || sandbox.json(&["task", "list", "--database", &database, "--limit", "1000"]);
    let ids = |tasks: &Value| -> Vec<String> {
        tasks.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = ids(&tasks());
    assert_eq!(before.len(), 11);

    write(&root, "more", "one\ntwo\n");
    let second = said(sandbox.taskyard(&["demo", "--json"]).current_dir(&root));
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(report(&second)["files"], 11);
    assert_eq!(report(&second)["duplicates"][0].as_array().unwrap().len(), 4);
    let after = ids(&tasks());
    assert_eq!(after.len(), 12, "the last run's tasks are gone");
    assert!(after.iter().all(|id| !before.contains(id)));

    // Each task has a log and progress, and is a parent of the report.
    let listed = tasks();
    let listed = listed.as_array().unwrap();
    let file = listed.iter().find(|task| task["name"] == "large.bin").unwrap();
    let id = file["id"].as_str().unwrap();
    assert_eq!((&file["state"], &file["attempt"]), (&json!("done"), &json!(1)));
    assert!(sandbox.ok(&["task", "logs", id, "--database", &database]).contains("read"));
    let shown = sandbox.json(&["task", "show", id, "--database", &database]);
    assert_eq!(shown["context"]["progress"]["percentage"], 100.0);
    let joining = listed.iter().find(|task| task["kind"] == "taskyard::demo::report").unwrap();
    assert_eq!(joining["parents"].as_array().unwrap().len(), 11);
    assert_eq!(shown["children"], json!([joining["id"]]));
}

#[test]
fn what_cannot_be_read_fails_with_its_reason_and_the_report_lists_it() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    write(&root, "good", "good\n");
    write(&root, "closed", "secret");
    write(&root, "shut/inside", "never seen");
    fs::set_permissions(root.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(root.join("shut"), PermissionsExt::from_mode(0o000)).unwrap();
    // In another user's directory: the demo stores its files in this user's state directory.
    for path in [sandbox.path(), &root] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::create_dir(sandbox.join("state")).unwrap();
    fs::set_permissions(sandbox.join("state"), PermissionsExt::from_mode(0o777)).unwrap();
    let is_root = fs::metadata(sandbox.path()).map(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0).unwrap();
    if !is_root {
        fs::set_permissions(&root, PermissionsExt::from_mode(0o555)).unwrap();
    }
    let program = sandbox.join("taskyard");
    fs::copy(env!("CARGO_BIN_EXE_taskyard"), &program).unwrap();
    let run = |json: &[&str]| {
        let mut command = unprivileged(&program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("XDG_STATE_HOME", sandbox.join("state")).current_dir(sandbox.path());
        said(command.args(["demo", "tree"]).args(json))
    };
    let failed = run(&["--json"]);
    let text = run(&[]);
    fs::set_permissions(root.join("shut"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();

    assert_eq!(failed.code, 1, "{failed:?}");
    let report = report(&failed);
    assert_eq!((&report["files"], &report["failed"]), (&json!(2), &json!(2)));
    assert_eq!(
        report["failures"],
        json!([
            {"path": "closed", "error": "cannot be opened: Permission denied"},
            {"path": "shut", "error": "the directory cannot be listed: Permission denied"},
        ])
    );
    assert_eq!(report["items"].as_array().unwrap().len(), 1);
    assert!(
        failed.stderr.contains("cannot be written") && failed.stderr.contains("/state/taskyard/demo-"),
        "{failed:?}"
    );
    assert!(text.code == 1 && text.stdout.contains("closed: cannot be opened: Permission denied"), "{text:?}");
    assert!(!root.join(".taskyard").exists());
}

#[test]
fn an_empty_directory_and_one_that_is_none() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.join("empty")).unwrap();
    let said = sandbox.run(&["demo", "empty", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        report(&said),
        json!({"files": 0, "bytes": 0, "failed": 0, "skipped": 0, "items": [], "duplicates": [], "failures": []})
    );
    for name in ["none", "taskyard.toml"] {
        let said = sandbox.run(&["demo", name]);
        assert!(said.code == 2 && said.stderr.starts_with("error: ") && said.stdout.is_empty(), "{said:?}");
    }
}

/// Creates a directory with this many small files; every thousandth has the same content.
fn many(root: &Path, files: usize) {
    for at in 0..files {
        let directory = root.join(format!("{}", at % 100));
        if at < 100 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(directory.join(format!("{at}")), format!("{}\n", at % 1_000)).unwrap();
    }
}

fn reads_all(said: &Said, files: usize) {
    assert_eq!(said.code, 0, "{}", said.stderr);
    let report = report(said);
    assert_eq!((&report["files"], &report["failed"]), (&json!(files), &json!(0)));
    assert_eq!(report["items"].as_array().unwrap().len(), files);
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 1_000);
}

#[test]
fn many_small_files_in_more_than_one_group() {
    let sandbox = Sandbox::new();
    many(&sandbox.join("many"), 4_500);
    reads_all(&sandbox.run(&["demo", "many", "--json"]), 4_500);
}

#[test]
fn a_hundred_thousand_small_files_on_both_databases() {
    let sandbox = Sandbox::new();
    many(&sandbox.join("many"), 100_000);
    reads_all(&sandbox.run(&["demo", "many", "--json"]), 100_000);
    let database = taskyard_testkit::postgres::shared().create_database();
    reads_all(&sandbox.run(&["demo", "many", "--json", "--database", &database]), 100_000);
}
