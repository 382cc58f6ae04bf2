//! Task ids on the command line: the first digits suffice if they are unambiguous.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, eventually, said};

fn add(sandbox: &Sandbox) -> String {
    add_of(sandbox, "tests::unknown")
}

fn add_of(sandbox: &Sandbox, kind: &str) -> String {
    sandbox.ok(&["task", "add", kind])
}

fn state(sandbox: &Sandbox, id: &str) -> Value {
    sandbox.json(&["task", "show", id])["task"]["state"].clone()
}

/// Returns the shortest prefix in which the first of these ids differs from all others.
fn shortest(id: &str, others: &[&str]) -> String {
    let is_unique = |length: &usize| others.iter().all(|other| !other.starts_with(&id[..*length]));
    let length = (1..=id.len()).find(is_unique).expect("they differ");
    id[..length].to_owned()
}

#[test]
fn the_first_digits_are_enough_for_every_command() {
    let sandbox = Sandbox::new();
    let (one, two) = (add(&sandbox), add(&sandbox));
    let short = shortest(&one, &[&two]);
    assert_eq!(sandbox.json(&["task", "show", &short])["task"]["id"], json!(one));
    assert!(sandbox.ok(&["task", "show", &short, "--tree"]).starts_with(&one));
    assert_eq!(sandbox.ok(&["task", "logs", &short]), "");
    assert!(sandbox.ok(&["task", "priority", &short, "5"]).starts_with(&one));
    let child = sandbox.ok(&["task", "add", "tests::unknown", "--parent", &short]);
    assert_eq!(sandbox.json(&["task", "show", &child])["task"]["parents"], json!([one]));
    let before = sandbox.json(&["task", "list", "--before", &shortest(&two, &[&one, &child])]);
    assert_eq!(before.as_array().unwrap().len(), 1, "{before}");

    // In upper case and without dashes.
    let plain = one.replace('-', "").to_uppercase();
    assert!(sandbox.ok(&["task", "cancel", &plain[..31]]).contains("cancelled"));
    assert_eq!((state(&sandbox, &one), state(&sandbox, &two)), (json!("cancelled"), json!("enqueued")));
    sandbox.ok(&["dead", "edit", &shortest(&one, &[&two, &child]), "--priority", "9"]);
    sandbox.ok(&["queue", "retry", &shortest(&one, &[&two, &child])]);
    assert_eq!(state(&sandbox, &one), "enqueued");
    assert_eq!(sandbox.json(&["task", "show", &one])["task"]["priority"], 9);
}

#[test]
fn an_ambiguous_beginning_names_the_candidates_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let (one, two) = (add(&sandbox), add(&sandbox));
    for arguments in [&["task", "cancel", &two, &one[..4]][..], &["task", "show", &one[..4]], &["queue", "retry", "0"]]
    {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, 2, "{said:?}");
        for part in [&one, &two, "tests::unknown", "hint: give more digits"] {
            assert!(said.stderr.contains(part), "{part}: {said:?}");
        }
    }
    assert_eq!((state(&sandbox, &one), state(&sandbox, &two)), (json!("enqueued"), json!("enqueued")));
    for _ in 0..5 {
        add(&sandbox);
    }
    let many = sandbox.run(&["task", "show", "0"]).stderr;
    assert!(many.matches("tests::unknown").count() == 5 && many.contains("and more"), "{many}");

    let none = sandbox.run(&["task", "show", "fffffff"]);
    assert!(none.code == 4 && none.stderr.contains("there is no task whose id begins with fffffff"), "{none:?}");
    let wrong = sandbox.run(&["task", "show", "mail"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("expected a task's id or its first digits"), "{wrong:?}");
}

#[test]
fn an_addition_says_when_nothing_runs_that_knows_the_function() {
    let sandbox = Sandbox::new();
    let none = sandbox.run(&["task", "add", "files::measure"]);
    assert!(none.code == 0 && none.stderr.contains("no server is running"), "{none:?}");
    let none = sandbox.run(&["schedule", "add", "nightly", "0 3 * * *", "files::measure"]);
    assert!(none.code == 0 && none.stderr.contains("no server is running"), "{none:?}");

    let _server = sandbox.server(&[]);
    let unknown = "no running server has `files::mesure`";
    // A kind that no server has claimed yet: an idle server refuses it within a second.
    let mut tried = 0;
    eventually("a new name is refused in time", || {
        tried += 1;
        let kind = format!("files::new{tried}");
        let first = sandbox.run(&["task", "add", &kind, "--json"]);
        assert!(first.code == 0 && serde_json::from_str::<Value>(&first.stdout).is_ok(), "{first:?}");
        first.stderr.contains(&format!("no running server has `{kind}`"))
    });
    let id = add_of(&sandbox, "files::mesure");
    eventually("it is parked", || sandbox.json(&["task", "show", &id])["task"]["wait_reason"] == "parked");
    for arguments in [
        &["task", "add", "files::mesure", "--delay", "1h"][..],
        &["schedule", "add", "weekly", "@weekly", "files::mesure"],
    ] {
        let said = sandbox.run(arguments);
        assert!(said.code == 0 && said.stderr.contains(unknown), "{said:?}");
    }
    // A kind that no server has claimed, of a task that runs later: it is compared with the program's own functions.
    for arguments in [
        &["schedule", "add", "yearly", "@yearly", "files::never_met"][..],
        &["task", "add", "files::never_met", "--delay", "1h"],
    ] {
        let said = said(&mut sandbox.application(arguments));
        assert!(said.code == 0 && said.stderr.contains("this program has no function `files::never_met`"), "{said:?}");
    }
    let known = said(&mut sandbox.application(&["schedule", "add", "daily", "@daily", "files::measure"]));
    assert!(known.code == 0 && known.stderr.is_empty(), "{known:?}");
    std::fs::write(sandbox.join("file"), "x").unwrap();
    let args = json!([sandbox.path(), "file"]).to_string();
    let known = sandbox.run(&["task", "add", "files::measure", "--args", &args]);
    assert!(known.code == 0 && known.stderr.is_empty(), "{known:?}");
}
