//! `taskyard schedule …`: adding, showing, running, pausing, removing, and refusals.

use serde_json::json;

use crate::place::{Place, eventually};

/// Runs the command, asserts this exit code, and returns its stderr.
fn refused(place: &Place, arguments: &[&str], code: i32) -> String {
    let said = place.run(arguments);
    assert_eq!(said.code, code, "{arguments:?}: {said:?}");
    said.stderr
}

#[test]
fn a_rule_is_tried_out_without_a_database() {
    let place = Place::new();
    let times = place.ok(&[
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
    let times = place.json(&["schedule", "next", "@every 90m", "--after", "2026-01-01T00:00:00Z", "-n", "2"]);
    assert_eq!(times, json!(["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"]));
    for (rule, words) in [
        ("61 * * * *", &["61", "character 1", "0 to 59"][..]),
        (",", &["five"]),
        ("0 0 30 2 *", &["February", "character 5"]),
        ("@at 2026-12-24T18:00:00", &["offset"]),
    ] {
        let refused = refused(&place, &["schedule", "next", rule], 2);
        assert!(words.iter().all(|word| refused.contains(word)), "{rule}: {refused}");
    }
}

#[test]
fn a_schedule_through_its_life() {
    let place = Place::new();
    let add = ["schedule", "add", "nightly", "0 3 * * *", "tests::unknown", "--zone", "Europe/Berlin", "--args", "[1]"];
    let added = place.json(&[&add[..], &["--overlap", "queue_one", "--queue", "reports", "--jitter", "5m"]].concat());
    assert_eq!((&added["put"], &added["name"]), (&json!("added"), &json!("nightly")));
    let next = added["next_at"].as_str().unwrap().to_owned();
    assert!(refused(&place, &add, 2).contains("exists already"));
    assert_eq!(place.json(&[&add[..], &["--on-conflict", "keep"]].concat())["put"], "kept");
    let listed = place.json(&["schedule", "list"]);
    assert_eq!(listed[0]["overlap"], "queue_one", "it was kept as it was");
    assert_eq!((&listed[0]["state"], &listed[0]["next_at"]), (&json!("active"), &json!(next)));
    let moved = place.json(&["schedule", "reschedule", "nightly", "0 4 * * *", "--zone", "UTC"]);
    assert_eq!((&moved["put"], moved["next_at"].as_str().unwrap().ends_with("T04:00:00Z")), (&json!("replaced"), true));
    assert_eq!(place.json(&["schedule", "list"])[0]["overlap"], "queue_one", "all else stays");
    assert!(refused(&place, &["schedule", "reschedule", "nobody", "0 4 * * *"], 4).contains("nobody"));
    assert!(refused(&place, &["schedule", "reschedule", "nightly", "61 * * * *"], 2).contains("character 1"));
    let id = place.ok(&["schedule", "run", "nightly"]);
    assert_eq!(place.json(&["task", "show", &id])["task"]["queue"], "reports");
    let shown = place.json(&["schedule", "show", "nightly", "--next", "3"]);
    assert_eq!(shown["upcoming"].as_array().unwrap().len(), 3);
    assert_eq!((&shown["history"][0]["task"], &shown["history"][0]["manual"]), (&json!(id), &json!(true)));
    assert!(place.ok(&["schedule", "show", "nightly"]).contains(&id));
    assert_eq!(place.ok(&["schedule", "pause", "nightly"]), "paused nightly");
    assert_eq!(place.json(&["schedule", "list"])[0]["state"], "paused");
    assert_eq!(place.json(&["schedule", "resume", "nightly"]), json!({"resumed": ["nightly"]}));
    let replaced = place.json(&[&add[..3], &["@after 1h", "tests::unknown", "--on-conflict", "replace"]].concat());
    assert_eq!(replaced["put"], "replaced");
    assert!(refused(&place, &["schedule", "remove", "nightly"], 2).contains("--yes"));
    assert_eq!(place.ok(&["schedule", "remove", "nightly", "--yes"]), "removed nightly");
    for command in ["pause", "resume", "run", "show"] {
        assert!(refused(&place, &["schedule", command, "nightly"], 4).contains("no schedule `nightly`"));
    }
    assert_eq!(place.json(&["schedule", "list"]), json!([]));
    assert_eq!(place.json(&["task", "show", &id])["task"]["state"], "enqueued", "its task stays");
}

#[test]
fn bad_input_changes_nothing() {
    let place = Place::new();
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
        refused(&place, &[&["schedule", "add", "a"], arguments].concat(), 2);
    }
    assert_eq!(place.json(&["schedule", "list"]), json!([]));
    // A warning is not a refusal.
    assert!(refused(&place, &["schedule", "add", "a", "*/7 * * * *", "k"], 0).contains("warning"));
}

#[test]
fn a_server_follows_them_while_it_runs() {
    let place = Place::new();
    place.ok(&["db", "migrate"]);
    let server = place.server(&[]);
    place.ok(&["schedule", "add", "soon", "@after 0.2s", "tests::unknown"]);
    eventually("it is enqueued", || place.json(&["schedule", "show", "soon"])["history"][0]["outcome"] == "enqueued");
    assert_eq!(place.json(&["schedule", "show", "soon"])["state"], "ended");
    drop(server);
}
