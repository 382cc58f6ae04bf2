//! Commands around a running server: tasks run, are waited for, followed, drained; signals end it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskyard_testkit::postgres::Cluster;

use crate::sandbox::{Running, Sandbox, eventually, said};

/// Adds a task that reads a file; returns its id.
fn read(sandbox: &Sandbox, name: &str, more: &[&str]) -> String {
    let args = json!([sandbox.path(), name]).to_string();
    sandbox.ok(&[&["task", "add", "files::measure", "--max-retries", "0", "--args", &args], more].concat())
}

#[test]
fn a_task_runs_and_is_waited_for() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.join("file"), "a\nb\n").unwrap();
    let server = sandbox.server(&["-w", "2", "--name", "one"]);
    let id = read(&sandbox, "file", &[]);
    let result: Value = serde_json::from_str(&sandbox.ok(&["task", "wait", &id])).unwrap();
    assert_eq!((&result["bytes"], &result["lines"]), (&json!(4), &json!(2)));

    let shown = sandbox.json(&["task", "show", &id]);
    assert_eq!(shown["task"]["state"], "done");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(shown["context"]["progress"]["completed"], 4);
    let logs = sandbox.ok(&["task", "logs", "-f", &id]);
    assert!(logs.contains("INFO") && logs.contains("\"bytes\":4"), "{logs}");
    let line: Value =
        serde_json::from_str(sandbox.ok(&["task", "logs", &id, "--json"]).lines().next().unwrap()).unwrap();
    assert_eq!((&line["level"], &line["fields"]["lines"]), (&json!(20), &json!(2)));

    let servers = sandbox.json(&["queue", "servers"]);
    let of = &servers[0];
    assert_eq!((&of["name"], &of["is_running"], &of["workers_max"]), (&json!("one"), &json!(true), &json!(2)));
    assert_eq!(of["pid"], server.id());
    assert_eq!(sandbox.json(&["queue", "status"])["healthy"], true);
    assert!(sandbox.ok(&["queue", "status"]).contains("good"));

    assert!(server.seen.iter().any(|line| line.starts_with("database: /") && line.ends_with(".taskyard/queue.db")));
    server.signal("TERM");
    let (status, stdout) = server.end();
    assert_eq!((status.code(), stdout.as_str()), (Some(0), ""));
    assert_eq!(sandbox.run(&["queue", "status"]).code, 1);
}

#[test]
fn a_server_of_rust_tasks_refuses_options_of_python() {
    let sandbox = Sandbox::new();
    for (option, part) in [
        (&["--include", "jobs"][..], "--include name Python modules"),
        (&["--reload"], "--reload watches Python files"),
    ] {
        let said = sandbox.run(&[&["queue", "start"], option].concat());
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
}

#[test]
fn nothing_that_a_server_says_reaches_a_terminal_raw() {
    let sandbox = Sandbox::new();
    let evil = "\u{1b}[2J\u{9b}31m\u{202e}x\nforged: line";
    let is_raw = |text: &str| {
        text.contains(['\u{1b}', '\u{9b}', '\u{202e}']) || text.lines().any(|line| line.starts_with("forged"))
    };
    let mut server = sandbox.server(&["--name", "\u{1b}[31mname"]);
    let args = json!([evil]).to_string();
    let id = sandbox.ok(&["task", "add", "files::panic", "--args", &args]);
    assert_eq!(sandbox.run(&["task", "wait", &id]).code, 1);
    // A message without such characters is left to the standard hook, or the application's.
    let plain = sandbox.ok(&["task", "add", "files::panic", "--args", "[\"an ordinary panic\"]"]);
    assert_eq!(sandbox.run(&["task", "wait", &plain]).code, 1);
    server.until_stderr("an ordinary panic");
    server.signal("TERM");
    server.until_stderr("stopping");
    let said = server.seen.join("\n");
    assert!(said.contains("\\u{1b}[2J") && !is_raw(&said), "{said}");
    for arguments in
        [&["queue", evil][..], &["queue", "start", evil], &["serve", "--port", evil], &["--database", evil]]
    {
        let said = sandbox.run(arguments);
        assert!(said.code == 2 && !is_raw(&said.stderr) && !is_raw(&said.stdout), "{said:?}");
    }
}

#[test]
fn a_failed_task_is_a_dead_letter_until_it_is_retried() {
    let sandbox = Sandbox::new();
    let _server = sandbox.server(&[]);
    let id = read(&sandbox, "later", &[]);
    let other = read(&sandbox, "never", &["--queue", "other"]);
    let failed = sandbox.run(&["task", "wait", &id]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("FileGone: the file is gone") && failed.stdout.is_empty(), "{failed:?}");
    sandbox.run(&["task", "wait", &other]);

    assert_eq!(sandbox.json(&["dead", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(sandbox.json(&["dead", "list", "--queue", "other"])[0]["id"], json!(other));
    assert!(sandbox.ok(&["dead", "list"]).contains("FileGone"));
    assert!(sandbox.ok(&["dead", "show", &id]).contains("the file is gone"));

    std::fs::write(sandbox.join("later"), "now").unwrap();
    assert_eq!(sandbox.run(&["queue", "retry", &id, "--queue", "other"]).code, 2);
    assert_eq!(sandbox.json(&["dead", "retry", "--queue", "default"])["retried"], 1);
    assert_eq!(sandbox.run(&["task", "wait", &id]).code, 0);
    assert_eq!(sandbox.json(&["queue", "retry", "--yes"])["retried"], 1);
    sandbox.run(&["task", "wait", &other]);
    assert_eq!(sandbox.json(&["dead", "purge", "--yes"])["deleted"], 1);
    assert_eq!(sandbox.json(&["dead", "list"]), json!([]));
}

#[test]
fn a_server_knows_the_tasks_of_its_application_and_no_others() {
    let sandbox = Sandbox::new();
    let victim = sandbox.join("precious");
    std::fs::write(&victim, "precious").unwrap();
    let _application = sandbox.server(&[]);
    let beside = json!({"links": 0, "skipped": 0, "unlisted": [], "unlisted_more": 0}).to_string();
    let report = json!([sandbox.path(), victim, serde_json::from_str::<Value>(&beside).unwrap()]).to_string();
    let file = json!([sandbox.path(), "precious"]).to_string();
    for (kind, args, queue) in [
        ("taskyard::demo::report", &report, "default"),
        ("taskyard::demo::report", &report, "demo"),
        ("taskyard::demo::file", &file, "demo"),
        ("taskyard::bench::noop", &"[1]".to_owned(), "bench"),
        ("taskyard::bench::stamp", &"[1]".to_owned(), "bench"),
    ] {
        let id = sandbox.ok(&["task", "add", kind, "--args", args, "--queue", queue]);
        eventually(kind, || sandbox.json(&["task", "show", &id])["task"]["wait_reason"] == "parked");
    }
    // A demo on the same database accesses only its own directory.
    std::fs::create_dir(sandbox.join("tree")).unwrap();
    std::fs::write(sandbox.join("tree/file"), "x").unwrap();
    let database = sandbox.join(".taskyard/queue.db").display().to_string();
    assert_eq!(sandbox.run(&["demo", "tree", "--database", &database]).code, 0);
    let reports = sandbox.json(&["task", "list", "--kind", "taskyard::demo::report"]);
    let done = reports.as_array().unwrap().iter().filter(|task| task["state"] == "done").count();
    assert_eq!(done, 1, "{reports}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_wait_that_is_too_long_ends_and_the_task_goes_on() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["task", "add", "tests::unknown"]);
    let waited = sandbox.run(&["task", "wait", &id, "--timeout", "100ms"]);
    assert_eq!(waited.code, 1);
    assert!(waited.stderr.contains("did not finish within 0.1 s"), "{waited:?}");

    // A server without the kind parks the task and logs it.
    let server = sandbox.server(&[]);
    eventually("the task is parked", || sandbox.json(&["task", "show", &id])["task"]["wait_reason"] == "parked");
    assert!(sandbox.ok(&["task", "list"]).contains("tests::unknown"));
    server.signal("INT");
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn a_running_task_is_stopped_cancelled_and_drained() {
    let sandbox = Sandbox::new();
    // The file is sparse: nothing is written to it, and it takes no space on the disk.
    let large = std::fs::File::create(sandbox.join("large")).unwrap();
    large.set_len(200 << 30).unwrap();
    let _server = sandbox.server(&["-w", "2"]);
    let is = |id: &str, state: &str| {
        eventually(state, || sandbox.json(&["task", "show", id])["task"]["state"] == state);
    };
    let id = read(&sandbox, "large", &[]);
    is(&id, "doing");
    eventually("its progress shows", || {
        sandbox.json(&["task", "show", &id])["context"]["progress"]["completed"].is_u64()
    });
    assert!(sandbox.ok(&["task", "stop", &id]).contains("asked"));
    is(&id, "stopped");

    let waited = sandbox.run(&["task", "wait", &id]);
    assert!(waited.code == 1 && waited.stderr.contains("was stopped"), "{waited:?}");
    sandbox.ok(&["task", "retry", &id]);
    is(&id, "doing");

    let late = sandbox.run(&["queue", "drain", "default", "--timeout", "300ms"]);
    assert!(late.code == 1 && late.stderr.contains("still run"), "{late:?}");
    sandbox.ok(&["task", "cancel", &id]);
    sandbox.ok(&["queue", "drain", "default"]);
    is(&id, "cancelled");
    let waited = sandbox.run(&["task", "wait", &id]);
    assert!(waited.code == 1 && waited.stderr.contains("was cancelled"), "{waited:?}");
    // A task added now waits until the queue is resumed.
    std::fs::write(sandbox.join("small"), "x").unwrap();
    let next = read(&sandbox, "small", &[]);
    assert_eq!(sandbox.run(&["task", "wait", &next, "--timeout", "500ms"]).code, 1);
    sandbox.ok(&["queue", "resume", "default"]);
    assert_eq!(sandbox.run(&["task", "wait", &next]).code, 0);
}

#[test]
fn a_second_signal_hastens_the_end_and_the_task_is_given_back() {
    let sandbox = Sandbox::new();
    std::fs::File::create(sandbox.join("large")).unwrap().set_len(200 << 30).unwrap();
    let mut server = sandbox.server(&["--set", "shutdown_grace=60"]);
    let id = read(&sandbox, "large", &[]);
    eventually("it runs", || sandbox.json(&["task", "show", &id])["task"]["state"] == "doing");
    let began = Instant::now();
    server.signal("TERM");
    server.until_stderr("another signal stops at once");
    server.signal("TERM");
    let (status, _) = server.end();
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let task = &sandbox.json(&["task", "show", &id])["task"];
    assert_eq!((&task["state"], &task["attempt"], &task["failures"]), (&json!("enqueued"), &json!(0), &json!(0)));
}

#[test]
fn a_server_serves_the_queues_it_was_given() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.join("file"), "x").unwrap();
    let _server = sandbox.server(&["--queues", "a, b"]);
    let (mine, other) = (read(&sandbox, "file", &["--queue", "b"]), read(&sandbox, "file", &["--queue", "c"]));
    assert_eq!(sandbox.run(&["task", "wait", &mine]).code, 0);
    assert_eq!(sandbox.run(&["task", "wait", &other, "--timeout", "500ms"]).code, 1);
    let python = said(&mut sandbox.taskyard(&["queue", "start", "--app", "web:app"]));
    assert!(python.code == 2 && python.stderr.contains("--app"), "{python:?}");
}

#[test]
fn a_server_whose_file_is_gone_ends_by_itself_and_a_fresh_one_helps() {
    let sandbox = Sandbox::new();
    let large = std::fs::File::create(sandbox.join("large")).unwrap();
    large.set_len(1 << 40).unwrap();
    let database = sandbox.join(".taskyard/queue.db");
    let short = ["lease=2s", "heartbeat_interval=500ms", "rescue_interval=500ms"].map(|set| ["--set", set]).concat();
    let mut server = sandbox.server(&short);
    let id = read(&sandbox, "large", &[]);
    eventually("it runs", || sandbox.json(&["task", "show", &id])["task"]["state"] == "doing");
    std::fs::rename(&database, sandbox.join("elsewhere.db")).unwrap();
    let began = Instant::now();
    server.until_stderr("the database is lost");
    let said = server.seen.last().unwrap().clone();
    assert!(said.contains("ERROR") && said.contains(&database.display().to_string()), "{said}");
    server.until_stderr("is lost, and the server has ended");
    let (status, _) = server.end();
    assert_eq!(status.code(), Some(75));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());

    // After the file is put back, a new server continues.
    std::fs::remove_file(sandbox.join("large")).unwrap();
    std::fs::write(sandbox.join("large"), "a\n").unwrap();
    std::fs::rename(sandbox.join("elsewhere.db"), &database).unwrap();
    let _fresh = sandbox.server(&short);
    assert_eq!(sandbox.run(&["task", "wait", &id, "--timeout", "55s"]).code, 0);
}

#[test]
fn a_server_waits_for_its_database_at_the_start() {
    let cluster = Cluster::start();
    let sandbox = Sandbox::on(cluster.create_database());
    let start = || Running::start(&mut sandbox.application(&["queue", "start"]));
    cluster.stop_immediate();
    let (mut waiting, mut stopped) = (start(), start());
    for server in [&mut waiting, &mut stopped] {
        server.until_stderr("waiting for the database");
        let said = server.seen.join("\n");
        assert!(said.contains("cannot reach the database: postgresql://") && said.contains("refused"), "{said}");
    }
    stopped.signal("TERM");
    stopped.until_stderr("no server has started");
    assert_eq!(stopped.end().0.code(), Some(0));
    cluster.start_again();
    waiting.until_stderr("the server runs");
    waiting.signal("TERM");
    waiting.until_stderr("stopping");
    assert_eq!(waiting.end().0.code(), Some(0));

    // These errors are not transient.
    let database = |name: &str| format!("{}/{name}", sandbox.database().rsplit_once('/').unwrap().0);
    let missing = Sandbox::on(database("no_such_database"));
    let nobody = Sandbox::on(database("postgres").replace("postgres@", "nobody@"));
    for (sandbox, part) in [(missing, "no_such_database"), (nobody, "nobody")] {
        let said = said(&mut sandbox.application(&["queue", "start"]));
        assert!(said.code == 3 && said.stderr.contains(part), "{said:?}");
    }
}
