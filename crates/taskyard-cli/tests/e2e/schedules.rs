//! `taskyard schedule …`: adding, showing, running, pausing, removing, and refusals.

use serde_json::json;

use crate::sandbox::{Sandbox, eventually};

/// Runs the command, asserts this exit code, and returns its stderr.
fn refused(sandbox: &Sandbox, arguments: &[&str], code: i32) -> String {
    let said = sandbox.run(arguments);
    assert_eq!(said.code, code, "{arguments:?}: {said:?}");
    said.stderr
}

#[test]
fn a_rule_is_tried_out_without_a_database() {
    let sandbox = Sandbox::new();
    let times = sandbox.ok(&[
        "schedule",
        "next",
        "0 2,14 * * *",
        "--zone",
        "America/New_York",
        "--after",
        "2026-03-07T20:00:00Z",
        "-n",
        "3",
    ]);
    let expected =
        ["Sun 2026-03-08 03:00:00 -04:00", "Sun 2026-03-08 14:00:00 -04:00", "Mon 2026-03-09 02:00:00 -04:00"];
    assert_eq!(times.lines().collect::<Vec<_>>(), expected);
    let times = sandbox.json(&["schedule", "next", "@every 90m", "--after", "2026-01-01T00:00:00Z", "-n", "2"]);
    assert_eq!(times, json!(["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"]));
    for (rule, words) in [
        ("61 * * * *", &["61", "character 1", "0 to 59"][..]),
        (",", &["five"]),
        ("0 0 30 2 *", &["February", "character 5"]),
        ("@at 2026-12-24T18:00:00", &["offset"]),
    ] {
        let refused = refused(&sandbox, &["schedule", "next", rule], 2);
        assert!(words.iter().all(|word| refused.contains(word)), "{rule}: {refused}");
    }
}

#[test]
fn a_schedule_through_its_life() {
    let sandbox = Sandbox::new();
    let add = ["schedule", "add", "nightly", "0 3 * * *", "tests::unknown", "--zone", "Europe/Berlin", "--args", "[1]"];
    let added = sandbox.json(&[&add[..], &["--overlap", "queue_one", "--queue", "reports", "--jitter", "5m"]].concat());
    assert_eq!((&added["put"], &added["name"]), (&json!("added"), &json!("nightly")));
    let next = added["next_at"].as_str().unwrap().to_owned();
    assert!(refused(&sandbox, &add, 2).contains("exists already"));
    assert_eq!(sandbox.json(&[&add[..], &["--on-conflict", "keep"]].concat())["put"], "kept");
    let listed = sandbox.json(&["schedule", "list"]);
    assert_eq!(listed[0]["overlap"], "queue_one", "it was kept as it was");
    assert_eq!((&listed[0]["state"], &listed[0]["next_at"]), (&json!("active"), &json!(next)));
    let moved = sandbox.json(&["schedule", "reschedule", "nightly", "0 4 * * *", "--zone", "UTC"]);
    assert_eq!((&moved["put"], moved["next_at"].as_str().unwrap().ends_with("T04:00:00Z")), (&json!("replaced"), true));
    assert_eq!(sandbox.json(&["schedule", "list"])[0]["overlap"], "queue_one", "all else stays");
    assert!(refused(&sandbox, &["schedule", "reschedule", "nobody", "0 4 * * *"], 4).contains("nobody"));
    assert!(refused(&sandbox, &["schedule", "reschedule", "nightly", "61 * * * *"], 2).contains("character 1"));
    let id = sandbox.ok(&["schedule", "run", "nightly"]);
    assert_eq!(sandbox.json(&["task", "show", &id])["task"]["queue"], "reports");
    let shown = sandbox.json(&["schedule", "show", "nightly", "--next", "3"]);
    assert_eq!(shown["upcoming"].as_array().unwrap().len(), 3);
    assert_eq!((&shown["history"][0]["task"], &shown["history"][0]["manual"]), (&json!(id), &json!(true)));
    assert!(sandbox.ok(&["schedule", "show", "nightly"]).contains(&id));
    assert_eq!(sandbox.ok(&["schedule", "pause", "nightly"]), "paused nightly");
    assert_eq!(sandbox.json(&["schedule", "list"])[0]["state"], "paused");
    assert_eq!(sandbox.json(&["schedule", "resume", "nightly"]), json!({"resumed": ["nightly"]}));
    let replaced = sandbox.json(&[&add[..3], &["@after 1h", "tests::unknown", "--on-conflict", "replace"]].concat());
    assert_eq!(replaced["put"], "replaced");
    assert!(refused(&sandbox, &["schedule", "remove", "nightly"], 2).contains("--yes"));
    assert_eq!(sandbox.ok(&["schedule", "remove", "nightly", "--yes"]), "removed nightly");
    for command in ["pause", "resume", "run", "show"] {
        assert!(refused(&sandbox, &["schedule", command, "nightly"], 4).contains("no schedule `nightly`"));
    }
    assert_eq!(sandbox.json(&["schedule", "list"]), json!([]));
    assert_eq!(sandbox.json(&["task", "show", &id])["task"]["state"], "enqueued", "its task stays");
}

#[test]
fn bad_input_changes_nothing() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["61 * * * *", "k"][..],
        &["0 0 30 2 *", "k"],
        &["@daily", "k", "--zone", "Mars/Base"],
        &["@daily", "k", "--overlap", "never"],
        &["@daily", "k", "--catch-up", "some"],
        &["@daily", "k", "--runs-max", "0"],
        &["@daily", "k", "--args", "{}"],
        &["@daily", "k", "--priority", "99999999999"],
        &["@daily", "k", "--starts-at", "2026-01-01T00:00:00"],
        &["@after 300y", "k"],
        &["@daily", ""],
    ] {
        refused(&sandbox, &[&["schedule", "add", "a"], arguments].concat(), 2);
    }
    assert_eq!(sandbox.json(&["schedule", "list"]), json!([]));
    // A warning is not a refusal.
    assert!(refused(&sandbox, &["schedule", "add", "a", "*/7 * * * *", "k"], 0).contains("warning"));
}

#[test]
fn a_server_follows_them_while_it_runs() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["db", "migrate"]);
    let server = sandbox.server(&[]);
    sandbox.ok(&["schedule", "add", "soon", "@after 0.2s", "tests::unknown"]);
    eventually("it is enqueued", || sandbox.json(&["schedule", "show", "soon"])["history"][0]["outcome"] == "enqueued");
    assert_eq!(sandbox.json(&["schedule", "show", "soon"])["state"], "ended");
    drop(server);
}
