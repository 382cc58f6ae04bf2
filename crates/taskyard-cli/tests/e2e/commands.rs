//! Commands without a server: changes, output and exit codes.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, said};

/// Adds a task of a kind that no server of these tests has; returns its id.
fn add(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.ok(&[&["task", "add", "tests::unknown"], arguments].concat())
}

fn state(sandbox: &Sandbox, id: &str) -> String {
    sandbox.json(&["task", "show", id])["task"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_task_is_added_with_all_its_options_and_shown() {
    let sandbox = Sandbox::new();
    let parent = add(&sandbox, &[]);
    let id = add(
        &sandbox,
        &[
            "--args",
            r#"[1, "zwei", 1000000000000000000000000000001]"#,
            "--kwargs",
            r#"{"a": null}"#,
            "--queue",
            "mail",
            "--priority",
            "-3",
            "--expires",
            "1h",
            "--timeout",
            "5m",
            "--max-retries",
            "9",
            "--name",
            "a \u{202e}name",
            "--tag",
            "x",
            "--tag",
            "y",
            "--parent",
            &parent,
            "--on-parent-failure",
            "run",
        ],
    );
    let shown = sandbox.json(&["task", "show", &id]);
    let task = &shown["task"];
    for (name, value) in [
        ("kind", json!("tests::unknown")),
        ("queue", json!("mail")),
        ("priority", json!(-3)),
        ("state", json!("waiting")),
        ("name", json!("a \u{202e}name")),
        ("tags", json!(["x", "y"])),
        ("parents", json!([parent])),
        ("on_parent_failure", json!("run")),
        ("timeout_ms", json!(300_000)),
    ] {
        assert_eq!(task[name], value, "{name}");
    }
    assert_eq!(task["retry"]["max_retries"], 9);
    // No float can represent this number exactly; every view must show it as it was written.
    let exact = "1000000000000000000000000000001";
    assert!(sandbox.ok(&["task", "show", &id, "--json"]).contains(exact));
    let text = sandbox.ok(&["task", "show", &id]);
    assert!(text.contains(exact) && text.contains("a \\u{202e}name") && !text.contains('\u{202e}'), "{text}");
    assert!(!sandbox.ok(&["task", "show", &id, "--json"]).contains('\u{202e}'));

    let tree = sandbox.ok(&["task", "show", &parent, "--tree"]);
    assert_eq!(tree.lines().count(), 2, "{tree}");
    assert!(tree.lines().nth(1).unwrap().starts_with(&format!("  {id} waiting")), "{tree}");
    assert_eq!(sandbox.json(&["task", "show", &parent, "--tree"]).as_array().unwrap().len(), 2);
    assert_eq!(sandbox.json(&["task", "show", &parent])["children"], json!([id]));
}

#[test]
fn a_unique_key_gives_the_existing_task() {
    let sandbox = Sandbox::new();
    let first = sandbox.json(&["task", "add", "k", "--unique", "one"]);
    let second = sandbox.json(&["task", "add", "k", "--unique", "one"]);
    assert_eq!((&first["existing"], &second["existing"]), (&json!(false), &json!(true)));
    assert_eq!(first["id"], second["id"]);
    let python = sandbox.ok(&["task", "add", "app.mail:send"]);
    assert_eq!(sandbox.json(&["task", "show", &python])["task"]["runtime"], "python");
}

#[test]
fn lists_are_filtered_and_paged() {
    let sandbox = Sandbox::new();
    let mut ids: Vec<String> = (0..5).map(|_| add(&sandbox, &["--queue", "a", "--tag", "t"])).collect();
    add(&sandbox, &["--queue", "b"]);
    ids.reverse();
    let list = |arguments: &[&str]| -> Vec<String> {
        let rows = sandbox.json(&[&["task", "list"], arguments].concat());
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(&[]).len(), 6);
    assert_eq!(list(&["--queue", "a"]), ids);
    assert_eq!(list(&["--tag", "t", "--kind", "tests::unknown"]), ids);
    assert_eq!(list(&["--state", "enqueued,doing"]).len(), 6);
    assert!(list(&["--state", "done"]).is_empty());
    assert_eq!(list(&["--queue", "a", "--limit", "2"]), ids[..2]);
    assert_eq!(list(&["--queue", "a", "--before", &ids[1]]), ids[2..]);
    let said = sandbox.run(&["task", "list", "--limit", "2"]);
    assert!(said.stdout.contains("ID") && said.stderr.contains("--before"), "{said:?}");
}

#[test]
fn a_rate_is_set_shown_and_lifted() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["queue", "rate", "mail", "100/m"]).contains("100/m"));
    assert_eq!(sandbox.json(&["queue", "stats"])[0]["rate"], "100/m");
    assert!(sandbox.ok(&["queue", "stats"]).contains("100/m"));
    let wrong = sandbox.run(&["queue", "rate", "mail", "0/m"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("pause"), "{wrong:?}");
    assert!(sandbox.ok(&["queue", "rate", "mail", "none"]).contains("no rate limit"));
    assert_eq!(sandbox.json(&["queue", "stats"])[0]["rate"], serde_json::Value::Null);
}

#[test]
fn a_task_is_cancelled_and_retried_and_wrong_states_are_named() {
    let sandbox = Sandbox::new();
    let id = add(&sandbox, &[]);
    assert!(sandbox.ok(&["task", "cancel", &id, "--reason", "it was a mistake"]).contains("cancelled"));
    assert!(sandbox.ok(&["task", "show", &id]).contains("it was a mistake"));
    assert_eq!(state(&sandbox, &id), "cancelled");

    let again = sandbox.run(&["task", "cancel", &id]);
    assert_eq!(again.code, 4);
    assert!(again.stderr.starts_with("error: ") && again.stderr.contains("is cancelled"), "{again:?}");
    assert_eq!(sandbox.run(&["task", "stop", &id]).code, 4);

    assert!(sandbox.ok(&["task", "retry", &id]).contains("enqueued"));
    assert_eq!(state(&sandbox, &id), "enqueued");

    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    for arguments in [
        &["task", "show", unknown][..],
        &["task", "cancel", unknown],
        &["task", "logs", unknown],
        &["task", "wait", unknown],
    ] {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, 4, "{arguments:?}: {said:?}");
        assert!(said.stderr.contains("there is no task") && said.stdout.is_empty(), "{said:?}");
    }
    let reply = said(&mut sandbox.taskyard(&["task", "retry", &id, unknown, "--json"]));
    let reply: Value = serde_json::from_str(&reply.stdout).unwrap();
    assert_eq!(reply[1]["reply"], "not_found");
}

#[test]
fn a_queue_is_cleared_only_when_that_is_meant() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..3).map(|_| add(&sandbox, &["--queue", "a"])).collect();
    let other = add(&sandbox, &["--queue", "b", "--delay", "1h"]);
    let refused = sandbox.run(&["queue", "clear"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    assert_eq!(state(&sandbox, &ids[0]), "enqueued");

    assert_eq!(sandbox.json(&["queue", "clear", "--yes", "--queue", "a"])["cancelled"], 3);
    assert!(ids.iter().all(|id| state(&sandbox, id) == "cancelled"));
    assert_eq!(state(&sandbox, &other), "waiting");
    assert!(sandbox.ok(&["queue", "clear", "-y"]).contains('1'));
    assert_eq!(sandbox.json(&["task", "list"]).as_array().unwrap().len(), 4, "nothing is deleted");
}

#[test]
fn finished_tasks_are_purged_by_filter() {
    let sandbox = Sandbox::new();
    let kept = add(&sandbox, &[]);
    let gone = add(&sandbox, &["--queue", "a"]);
    add(&sandbox, &["--queue", "b"]);
    sandbox.ok(&["queue", "clear", "--yes", "--queue", "a"]);
    sandbox.ok(&["queue", "clear", "--yes", "--queue", "b"]);

    let waiting = sandbox.run(&["queue", "purge", "--yes", "--state", "enqueued"]);
    assert_eq!(waiting.code, 2, "{waiting:?}");
    assert_eq!(sandbox.json(&["queue", "purge", "--yes", "--older-than", "1h"])["deleted"], 0);
    assert_eq!(sandbox.json(&["queue", "purge", "--yes", "--state", "failed"])["deleted"], 0);
    assert_eq!(sandbox.json(&["queue", "purge", "--yes", "--queue", "a"])["deleted"], 1);
    assert_eq!(sandbox.run(&["task", "show", &gone]).code, 4);
    assert_eq!(sandbox.json(&["queue", "purge", "--yes"])["deleted"], 1);
    assert_eq!(state(&sandbox, &kept), "enqueued");
}

#[test]
fn a_queue_keeps_its_pause_and_its_limit() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["queue", "pause", "mail"]);
    sandbox.ok(&["queue", "limit", "mail", "3"]);
    let stats = || sandbox.json(&["queue", "stats"])[0].clone();
    assert_eq!(
        (&stats()["name"], &stats()["paused"], &stats()["running_max"]),
        (&json!("mail"), &json!(true), &json!(3))
    );
    assert!(sandbox.ok(&["queue", "stats"]).contains("paused"));
    sandbox.ok(&["queue", "resume", "mail"]);
    sandbox.ok(&["queue", "limit", "mail", "none"]);
    assert_eq!((&stats()["paused"], &stats()["running_max"]), (&json!(false), &Value::Null));

    assert!(sandbox.ok(&["queue", "drain", "mail"]).contains("paused"));
    assert_eq!(stats()["paused"], true);
    let unknown = sandbox.run(&["queue", "drain", "no-such"]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
    for wrong in [
        &["queue", "limit", "mail", "0"][..],
        &["queue", "limit", "mail", "many"],
        &["queue", "pause", ""],
        &["queue", "pause", "a\nb"],
    ] {
        assert_eq!(sandbox.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn health_is_an_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["db", "migrate"]);
    let idle = sandbox.run(&["queue", "status", "--json"]);
    let status: Value = serde_json::from_str(&idle.stdout).unwrap();
    assert_eq!(idle.code, 1);
    assert_eq!((&status["healthy"], &status["servers_alive"]), (&json!(false), &json!(0)));
    assert_eq!(status["problems"], json!(["no server is alive"]));
    add(&sandbox, &[]);
    let text = sandbox.run(&["queue", "status"]);
    assert!(text.code == 1 && text.stdout.contains("enqueued") && text.stdout.contains("queue.db"), "{text:?}");
    assert_eq!(sandbox.json(&["queue", "servers"]), json!([]));
}

#[test]
fn the_schema_is_shown_and_migrated() {
    let sandbox = Sandbox::new();
    let none = sandbox.run(&["db", "status"]);
    assert_eq!(none.code, 3);
    assert!(none.stderr.contains("there is no database yet") && none.stderr.contains("hint: "), "{none:?}");
    assert!(!sandbox.join(".taskyard").exists(), "looking makes nothing");

    let first = sandbox.json(&["db", "migrate"]);
    assert_eq!(first["from"], 0);
    assert!(first["to"].as_i64().unwrap() >= 1);
    assert!(sandbox.ok(&["db", "migrate"]).contains("nothing to do"));
    assert_eq!(sandbox.json(&["db", "status"])["current"], true);
    assert!(sandbox.ok(&["db", "status"]).contains("current"));
    let made = sandbox.run(&["db", "makemigrations"]);
    assert!(made.code == 0 && made.stderr.contains("ship with Taskyard"), "{made:?}");
}

#[test]
fn a_query_reads_and_never_writes() {
    let sandbox = Sandbox::new();
    add(&sandbox, &["--queue", "a"]);
    let rows =
        sandbox.json(&["db", "query", "select state, count(*) as n, null as none from queued_tasks group by state"]);
    assert_eq!(rows, json!([{"state": "enqueued", "n": 1, "none": null}]));
    let text = sandbox.ok(&["db", "query", "select 'a\u{1b}[31m' as x"]);
    assert!(text.contains("a\\u{1b}[31m"), "{text:?}");
    let some = sandbox.run(&["db", "query", "--limit", "1", "values (1), (2)"]);
    assert!(some.code == 0 && some.stderr.contains("rows are shown"), "{some:?}");
    for wrong in [
        "delete from ty_task",
        "select 1; delete from ty_task",
        "with gone as (select 1) delete from ty_task",
        "attach 'x.db' as x",
        "pragma user_version = 7",
        "selekt",
        "select * from no_such_table",
        "",
    ] {
        let said = sandbox.run(&["db", "query", wrong]);
        assert!(said.code != 0 && said.stderr.starts_with("error: "), "{wrong}: {said:?}");
    }
    assert!(!sandbox.join("x.db").exists());
    assert_eq!(sandbox.json(&["task", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn completions_and_help_are_complete() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(sandbox.ok(&["completions", shell]).contains("makemigrations"), "{shell}");
    }
    assert!(!sandbox.join(".taskyard").exists());
    let help = sandbox.ok(&["--help"]);
    for part in ["QUEUE_MAX_WORKERS", "QUEUE_NOTIFY_CHANNEL", "TASKYARD_LEASE", "EXIT CODES", "DATABASE_URL", "demo"] {
        assert!(help.contains(part), "{part}");
    }
    for group in ["queue", "task", "dead", "schedule", "db"] {
        let help = sandbox.ok(&[group, "--help"]);
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        // Descriptions continue on lines that are indented further.
        let verbs = commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let verbs = verbs.filter_map(|line| line.split_whitespace().next());
        let verbs: Vec<&str> = verbs.filter(|verb| *verb != "help").collect();
        assert!(verbs.len() >= 4, "{group}: {verbs:?}");
        for verb in verbs {
            assert!(sandbox.ok(&[group, verb, "--help"]).contains("Usage"), "{group} {verb}");
        }
    }
    assert!(sandbox.ok(&["db", "makemigrations", "--help"]).contains("Usage"));
    assert_eq!(sandbox.run(&["no-such-command"]).code, 2);
    assert!(sandbox.ok(&["--version"]).starts_with("taskyard "));
}
