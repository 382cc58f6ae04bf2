//! The demo interrupted: gracefully, by a kill, and started twice at once.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::demo::report;
use crate::sandbox::{Running, Sandbox, eventually, said};

const SMALL: usize = 60;

/// Creates small files, and one so large that a run is certainly still reading it.
fn tree(root: &Path) {
    fs::create_dir(root).unwrap();
    for at in 0..SMALL {
        fs::write(root.join(format!("small-{at:03}")), format!("{at}")).unwrap();
    }
    fs::File::create(root.join("zz-long")).unwrap().set_len(300 << 30).unwrap();
}

fn tasks(sandbox: &Sandbox, root: &Path) -> Vec<Value> {
    let database = root.join(".taskyard/demo.db").display().to_string();
    let list = sandbox.run(&["task", "list", "--database", &database, "--limit", "1000", "--json"]);
    serde_json::from_str::<Value>(&list.stdout).ok().and_then(|list| list.as_array().cloned()).unwrap_or_default()
}

/// Starts the demo and waits until only the long file is left.
fn started(sandbox: &Sandbox, root: &Path) -> Running {
    let running = Running::start(&mut sandbox.taskyard(&["demo", "tree", "--json"]));
    eventually("the small files are done and the long one is read", || {
        let tasks = tasks(sandbox, root);
        let in_state = |state: &str| tasks.iter().filter(|task| task["state"] == state).count();
        in_state("done") == SMALL && in_state("doing") == 1
    });
    running
}

/// Shortens the long file and runs the same command, which resumes: no file is read twice.
fn goes_on(sandbox: &Sandbox, root: &Path, before: &[Value]) {
    fs::write(root.join("zz-long"), "short now").unwrap();
    let said = sandbox.run(&["demo", "tree", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains(&format!("resuming an unfinished run: {SMALL} of {} files", SMALL + 1)), "{said:?}");
    let report = report(&said);
    assert_eq!((&report["files"], &report["failed"]), (&json!(SMALL + 1), &json!(0)));
    let after = tasks(sandbox, root);
    assert_eq!(after.len(), SMALL + 2);
    for task in before.iter().filter(|task| task["state"] == "done") {
        let now = after.iter().find(|now| now["id"] == task["id"]).expect("it is still there");
        assert_eq!((&now["attempt"], &now["finished_at"]), (&json!(1), &task["finished_at"]));
    }
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    tree(&root);
    let mut running = started(&sandbox, &root);
    running.signal("INT");
    running.until_stderr("stopping");
    let (status, stdout) = running.end();
    assert_eq!((status.code(), stdout.as_str()), (Some(130), ""));
    let before = tasks(&sandbox, &root);
    let long = before.iter().find(|task| task["name"] == "zz-long").unwrap();
    assert_eq!((&long["state"], &long["attempt"]), (&json!("enqueued"), &json!(0)), "given back, uncharged");
    goes_on(&sandbox, &root, &before);
}

#[test]
fn a_killed_run_goes_on_once_its_lease_is_over() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    tree(&root);
    let running = started(&sandbox, &root);
    running.signal("KILL");
    assert_eq!(running.end().0.code(), None);
    goes_on(&sandbox, &root, &tasks(&sandbox, &root));
}

#[test]
fn a_run_that_was_killed_while_it_was_added_makes_room() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "x").unwrap();
    assert_eq!(sandbox.run(&["demo", "tree"]).code, 0);
    // A task with this directory's tag but without a joining task, as an interrupted addition leaves it.
    let database = root.join(".taskyard/demo.db").display().to_string();
    let tag = tasks(&sandbox, &root)[0]["tags"][0].as_str().unwrap().to_owned();
    let add = ["task", "add", "taskyard::demo::file", "--queue", "demo", "--tag", &tag, "--database", &database];
    let left = sandbox.ok(&add);
    let said = sandbox.run(&["demo", "tree", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(report(&said)["files"], 1);
    assert!(tasks(&sandbox, &root).iter().all(|task| task["id"] != json!(left)));
}

#[test]
fn a_second_demo_on_the_same_directory_is_refused() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("tree");
    tree(&root);
    let running = started(&sandbox, &root);
    let second = said(&mut sandbox.taskyard(&["demo", "tree"]));
    assert!(second.code == 4 && second.stderr.contains("another `taskyard demo` is running"), "{second:?}");
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(130));
}
