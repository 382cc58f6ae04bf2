//! Priorities, ageing, dead letters with their filters and edits, orders of queues, and the live view.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn add(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.ok(&[&["task", "add", "tests::unknown"], arguments].concat())
}

fn task(sandbox: &Sandbox, id: &str) -> Value {
    sandbox.json(&["task", "show", id])["task"].clone()
}

#[test]
fn the_priority_of_a_task_that_has_not_started() {
    let sandbox = Sandbox::new();
    let id = add(&sandbox, &["--args", "[]"]);
    assert!(sandbox.ok(&["task", "priority", &id, "-5"]).contains("new priority"));
    assert_eq!(task(&sandbox, &id)["priority"], -5);
    sandbox.ok(&["task", "priority", &id, "7"]);
    assert_eq!(task(&sandbox, &id)["priority"], 7);
    for wrong in ["2147483648", "high", "1.5", ""] {
        let said = sandbox.run(&["task", "priority", &id, wrong]);
        assert!(said.code == 2 && said.stderr.contains("whole number"), "{said:?}");
    }
    sandbox.ok(&["task", "cancel", &id]);
    let said = sandbox.run(&["task", "priority", &id, "1"]);
    assert!(said.code == 4 && said.stderr.contains("not started"), "{said:?}");
    let said = sandbox.run(&["task", "priority", "01890000-0000-7000-8000-000000000000", "1"]);
    assert_eq!(said.code, 4, "{said:?}");
}

#[test]
fn a_queue_is_told_to_age() {
    let sandbox = Sandbox::new();
    let id = add(&sandbox, &["--args", "[]", "--queue", "reports"]);
    let said = sandbox.json(&["queue", "ageing", "reports", "--every", "10m"]);
    assert_eq!(said, json!({"queue": "reports", "ageing_seconds": 600.0}));
    assert_eq!(sandbox.json(&["queue", "stats"])[0]["ageing_seconds"], 600.0);
    assert!(sandbox.ok(&["queue", "stats"]).contains("10m"));
    sandbox.ok(&["queue", "ageing", "reports", "--off"]);
    assert_eq!(sandbox.json(&["queue", "stats"])[0]["ageing_seconds"], Value::Null);
    for wrong in [&["queue", "ageing", "reports", "--every", "0"][..], &["queue", "ageing", "reports"]] {
        assert_eq!(sandbox.run(wrong).code, 2);
    }
    assert_eq!(task(&sandbox, &id)["state"], "enqueued");
}

#[test]
fn dead_letters_through_their_life() {
    let sandbox = Sandbox::new();
    let parent = add(&sandbox, &["--args", "[]", "--queue", "mail"]);
    let dead = add(&sandbox, &["--args", "[1]", "--kwargs", r#"{"a":2}"#, "--queue", "mail", "--parent", &parent]);
    // Without a server: a cancelled task can be edited as well, and is not a dead letter.
    sandbox.ok(&["task", "cancel", &parent]);
    assert_eq!(sandbox.json(&["dead", "count"]), json!({"dead": 0}));
    let edited = sandbox.json(&["dead", "edit", &dead, "--args", r#"["x"]"#, "--priority", "-3", "--max-retries", "9"]);
    assert_eq!(edited["edited"], true);
    let shown = task(&sandbox, &dead);
    assert_eq!(shown["payload"], json!({"args": ["x"], "kwargs": {"a": 2}}));
    assert_eq!((&shown["priority"], &shown["retry"]["max_retries"]), (&json!(-3), &json!(9)));
    assert_eq!(shown["state"], "cancelled");
    sandbox.ok(&["dead", "edit", &dead, "--queue", "second"]);
    assert_eq!(task(&sandbox, &dead)["queue"], "second");
    for (wrong, code, part) in [
        (&["dead", "edit", &dead][..], 2, "nothing to change"),
        (&["dead", "edit", &dead, "--args", "{}"], 2, "not a JSON list"),
        (&["dead", "edit", &dead, "--kwargs", "[]"], 2, "not a JSON object"),
        (&["dead", "retry", "--args", "[]"], 2, "only a single task"),
        (&["dead", "retry", &dead, "--error", "X"], 2, "ids or filters"),
        (&["dead", "list", "--failed-before", "yesterday"], 2, "failed-before"),
        (&["dead", "purge", "--failed-before", "2026-01-01T00:00:00Z", "--older-than", "1d"], 2, "cannot be used"),
    ] {
        let said = sandbox.run(wrong);
        assert!(said.code == code && said.stderr.contains(part), "{wrong:?}: {said:?}");
    }
    // Arguments written by the command are plain JSON, without references or signed values.
    sandbox.ok(&["dead", "edit", &dead, "--args", r#"[{"$dill":"AA"}]"#]);
    assert_eq!(task(&sandbox, &dead)["payload"]["args"], json!([{"$dill": "AA"}]));
    let said = sandbox.run(&["dead", "edit", "01890000-0000-7000-8000-000000000000", "--priority", "1"]);
    assert_eq!(said.code, 4, "{said:?}");
    sandbox.ok(&["dead", "retry", &parent, "--args", "[5]"]);
    let shown = task(&sandbox, &parent);
    assert_eq!((&shown["state"], &shown["payload"]["args"]), (&json!("enqueued"), &json!([5])));
    let said = sandbox.run(&["dead", "edit", &parent, "--args", "[]"]);
    assert!(said.code == 4 && said.stderr.contains("can be edited"), "{said:?}");
}

#[test]
fn an_order_that_cannot_be_meant_is_refused() {
    let sandbox = Sandbox::new();
    for (arguments, part) in [
        (&["queue", "start", "--queues", "a:0"][..], "whole number"),
        (&["queue", "start", "--queues", "a,a"], "twice"),
        (&["queue", "start", "--queue-order", "strict"], "queues"),
        (&["queue", "start", "--queues", "a,b", "--queue-order", "random"], "priority, strict, weights"),
        (&["queue", "start", "--queues", "a:3,b", "--queue-order", "strict"], "weights"),
    ] {
        let said = sandbox.run(arguments);
        assert!(said.code == 2 && said.stderr.contains(part), "{arguments:?}: {said:?}");
    }
}

#[test]
fn a_queues_name_may_be_as_long_as_the_settings_say() {
    let sandbox = Sandbox::new();
    let name = "q".repeat(300);
    for command in [&["pause"][..], &["resume"], &["limit", "2"], &["rate", "5/s"]] {
        let arguments = [&["queue", command[0], &name], &command[1..]].concat();
        let said = sandbox.run(&arguments);
        assert!(said.code != 0 && said.stderr.contains("255"), "{command:?}: {said:?}");
        sandbox.ok(&[&["--set", "name_bytes_max=300"], &arguments[..]].concat());
    }
}

#[test]
fn one_picture_of_everything() {
    let sandbox = Sandbox::new();
    add(&sandbox, &["--args", "[]", "--queue", "mail"]);
    sandbox.ok(&["queue", "pause", "other"]);
    sandbox.ok(&["schedule", "add", "nightly", "0 3 * * *", "tests::unknown"]);
    let frame = sandbox.json(&["top", "--once"]);
    assert_eq!((&frame["states"]["enqueued"], &frame["states"]["doing"]), (&json!(1), &json!(0)));
    assert_eq!(frame["per_second"], Value::Null, "there was no look before");
    let queues: Vec<_> = frame["queues"].as_array().unwrap().iter().map(|queue| queue["name"].clone()).collect();
    assert_eq!(queues, ["mail", "other"]);
    assert_eq!(frame["schedules"][0]["name"], "nightly");
    for part in ["servers", "running", "dead"] {
        assert_eq!(frame[part], json!([]), "{part}");
    }
    let picture = sandbox.ok(&["top", "--once"]);
    for part in ["enqueued 1", "mail", "other", "paused", "nightly", "running: none", "dead letters: none"] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    assert!(!picture.contains('\u{1b}'), "{picture}");
    // Without a terminal, `top` is refused.
    let said = sandbox.run(&["top"]);
    assert!(said.code == 2 && said.stderr.contains("--once"), "{said:?}");
    let nowhere = Sandbox::new();
    assert_eq!(nowhere.run(&["top", "--once"]).code, 3);
}

#[test]
fn a_stream_of_looks_for_programs() {
    let sandbox = Sandbox::new();
    add(&sandbox, &["--args", "[]"]);
    let mut child = sandbox
        .taskyard(&["top", "--json", "--every", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let frames: Vec<Value> = lines.by_ref().take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(frames[0]["per_second"], Value::Null);
    assert_eq!(frames[1]["per_second"]["added"], 0.0);
    let interrupted = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(interrupted.unwrap().success());
    // The remaining output is read, so that the process can end.
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Adds a task that reads a missing file, and waits until it is a dead letter.
fn dies(sandbox: &Sandbox, name: &str, more: &[&str]) -> String {
    let args = json!([sandbox.path(), name]).to_string();
    let add = ["task", "add", "files::measure", "--max-retries", "0", "--args", &args];
    let id = sandbox.ok(&[&add[..], more].concat());
    assert_eq!(sandbox.run(&["task", "wait", &id]).code, 1);
    id
}

#[test]
fn dead_letters_are_found_mended_and_run() {
    let sandbox = Sandbox::new();
    let _server = sandbox.server(&["--queues", "default,other", "--queue-order", "strict"]);
    let one = dies(&sandbox, "one", &[]);
    let two = dies(&sandbox, "two", &["--queue", "other", "--tag", "night"]);
    let count = |arguments: &[&str]| sandbox.json(&[&["dead", "count"], arguments].concat())["dead"].as_u64().unwrap();
    let error = task(&sandbox, &one)["error"]["type"].as_str().unwrap().to_owned();
    let died = task(&sandbox, &two)["finished_at"].as_str().unwrap().to_owned();
    for (arguments, expected) in [
        (&[][..], 2),
        (&["--error", &error], 2),
        (&["--error", "Other"], 0),
        (&["--message", "is gone"], 2),
        (&["--tag", "night"], 1),
        (&["--queue", "default", "--error", &error], 1),
        (&["--failed-before", &died], 1),
        (&["--failed-after", &died], 1),
        (&["--older-than", "1d"], 0),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
    assert_eq!(sandbox.json(&["dead", "list", "--tag", "night"])[0]["id"], json!(two));
    assert_eq!(sandbox.json(&["top", "--once"])["dead"].as_array().unwrap().len(), 2);
    std::fs::write(sandbox.join("there"), "now").unwrap();
    let args = json!([sandbox.path(), "there"]).to_string();
    sandbox.ok(&["dead", "retry", &one, "--args", &args]);
    assert_eq!(sandbox.run(&["task", "wait", &one]).code, 0);
    assert_eq!(sandbox.json(&["task", "show", &one])["attempts"].as_array().unwrap().len(), 2);
    sandbox.ok(&["dead", "edit", &two, "--args", &args, "--queue", "default"]);
    assert_eq!(task(&sandbox, &two)["state"], "failed");
    assert_eq!(sandbox.json(&["dead", "retry", "--queue", "other"])["retried"], 0);
    assert_eq!(sandbox.json(&["dead", "retry", "--tag", "night"])["retried"], 1);
    assert_eq!(sandbox.run(&["task", "wait", &two]).code, 0);
    let three = dies(&sandbox, "three", &[]);
    assert_eq!(sandbox.json(&["dead", "purge", "--yes", "--message", "nothing"])["deleted"], 0);
    assert_eq!(sandbox.json(&["dead", "purge", "--yes", "--message", "is gone"])["deleted"], 1);
    assert_eq!(sandbox.run(&["task", "show", &three]).code, 4);
}

#[test]
fn tasks_that_lost_their_place_in_the_range_are_shown_and_put_back() {
    let sandbox = Sandbox::new();
    for _ in 0..3 {
        sandbox.ok(&["task", "add", "files::measure", "--args", &json!([sandbox.path(), "taskyard.toml"]).to_string()]);
    }
    assert!(sandbox.ok(&["db", "check"]).contains("3 tasks were compared"));
    let delete = || {
        let text =
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('delete from ty_ready'); db.commit()";
        let done =
            std::process::Command::new("python3").args(["-c", text]).arg(sandbox.join(".taskyard/queue.db")).status();
        assert!(done.unwrap().success());
    };
    delete();
    let status = sandbox.run(&["queue", "status"]);
    assert!(status.code == 1 && status.stdout.contains("missing from the runnable range"), "{status:?}");
    let check = sandbox.run(&["db", "check"]);
    assert!(
        check.code == 1 && check.stdout.contains("3 enqueued tasks were missing there, 0 of them were put back"),
        "{check:?}"
    );
    assert_eq!(sandbox.json(&["db", "check", "--repair"]), json!({"seen": 3, "missing": 3, "repaired": 3}));
    assert!(!sandbox.run(&["queue", "status"]).stdout.contains("missing from the runnable range"));
    // A running server repairs the range on its own.
    delete();
    let _server = sandbox.server(&[]);
    let listed = sandbox.json(&["task", "list"]);
    for task in listed.as_array().unwrap() {
        assert_eq!(sandbox.run(&["task", "wait", task["id"].as_str().unwrap(), "--timeout", "30s"]).code, 0);
    }
}
