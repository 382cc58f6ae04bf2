//! Output on a terminal of 80 columns: whole ids, one line for each row, colours, questions, the live view.

use serde_json::json;

use crate::sandbox::Sandbox;

/// Adds a task that fails with a message of two lines.
fn fails(sandbox: &Sandbox) -> String {
    let args = ["--args", "[\"first\\nsecond\"]", "--queue", "a-long-queue-name", "--max-retries", "0"];
    let id = sandbox.ok(&[&["task", "add", "files::panic"][..], &args].concat());
    assert_eq!(sandbox.run(&["task", "wait", &id]).code, 1);
    id
}

/// Returns the output without colours.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        shown.push_str(before);
        rest = behind.split_once('m').map_or("", |(_, rest)| rest);
    }
    shown + rest
}

#[test]
fn rows_are_lines_with_whole_ids_and_states_have_colours() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let failed = fails(&sandbox);
    server.signal("TERM");
    server.end();
    let waits = sandbox.ok(&["task", "add", "app.newsletters.sending:send_to_everybody", "--delay", "1h"]);
    for arguments in [&["task", "list"][..], &["dead", "list"], &["queue", "servers"], &["top", "--once"]] {
        let said = sandbox.on_terminal(arguments, &[], &[]);
        assert_eq!(said.code, 0, "{said:?}");
        let text = plain(&said.stdout);
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains("queue.db")), "{text}");
        if arguments[0] != "queue" {
            assert!(text.lines().any(|line| line.starts_with(&failed) && line.contains("files::")), "{text}");
        }
    }
    let list = sandbox.on_terminal(&["task", "list"], &[], &[]).stdout;
    assert!(list.contains("\u{1b}[31mfailed") && list.contains("\u{1b}[33mwaiting"), "{list}");
    assert!(plain(&list).lines().any(|line| line.starts_with(&waits)) && list.contains('…'), "{list}");
    assert!(sandbox.on_terminal(&["task", "show", &failed], &[], &[]).stdout.contains("\u{1b}[31mfailed"));
    let tree = sandbox.on_terminal(&["task", "show", &failed, "--tree"], &[], &[]).stdout;
    assert!(tree.contains("\u{1b}[31mfailed"), "{tree}");

    let without = sandbox.on_terminal(&["task", "list"], &[("NO_COLOR", "1")], &[]).stdout;
    assert!(!without.contains('\u{1b}') && without.contains("failed"), "{without}");
    // In a pipe nothing is cut and nothing is coloured.
    let piped = sandbox.ok(&["task", "list"]);
    assert!(!piped.contains('\u{1b}') && piped.contains("a-long-queue-name") && !piped.contains('…'), "{piped}");
    assert!(piped.contains("first second"), "{piped}");
}

#[test]
fn a_line_break_is_never_shown_as_an_escape() {
    let sandbox = Sandbox::new();
    let _server = sandbox.server(&[]);
    let id = fails(&sandbox);
    for arguments in
        [&["task", "list"][..], &["dead", "list"], &["top", "--once"], &["task", "logs", &id], &["task", "show", &id]]
    {
        let text = sandbox.ok(arguments);
        // The arguments are shown as JSON.
        let text: String = text.lines().filter(|line| !line.contains("\"args\"")).collect();
        assert!(!text.contains("\\n"), "{arguments:?}: {text}");
    }
    let waited = sandbox.run(&["task", "wait", &id]);
    assert!(waited.stderr.contains("first\n  second"), "{waited:?}");
    let shown = sandbox.ok(&["task", "show", &id]);
    assert!(shown.contains("failures 1, retries left 0 of 0"), "{shown}");
}

#[test]
fn a_retry_of_every_failed_task_is_asked_for() {
    let sandbox = Sandbox::new();
    let _server = sandbox.server(&[]);
    let id = fails(&sandbox);
    for command in ["queue", "dead"] {
        let refused = sandbox.run(&[command, "retry"]);
        assert!(refused.code == 2 && refused.stderr.contains("--yes"), "{refused:?}");
        let no = sandbox.on_terminal(&[command, "retry"], &[], &[("Retry every failed task in ", "n\r")]);
        assert!(no.code == 1 && no.stdout.contains("nothing was changed"), "{no:?}");
    }
    assert_eq!(sandbox.json(&["task", "show", &id])["task"]["attempt"], 1);
    assert_eq!(sandbox.json(&["queue", "retry", "--yes", "--queue", "default"])["retried"], 0);
    let yes = sandbox.on_terminal(&["queue", "retry"], &[], &[("[y/N]", "y\r")]);
    assert!(yes.code == 0 && yes.stdout.contains("1 failed tasks are retried"), "{yes:?}");
    // With ids there is no question.
    sandbox.run(&["task", "wait", &id]);
    sandbox.ok(&["queue", "retry", &id]);
}

#[test]
fn the_live_view_shows_the_throughput_and_heeds_the_keys_that_it_shows() {
    let sandbox = Sandbox::new();
    for queue in ["b-first", "a-second"] {
        sandbox.ok(&["task", "add", "k", "--queue", queue]);
    }
    sandbox.ok(&["task", "add", "k", "--queue", "b-first"]);
    let said = sandbox.on_terminal(
        &["top", "--every", "200ms"],
        &[],
        &[
            ("q quit   s sort queues: fullest   t sort tasks: newest", "s"),
            ("s sort queues: name", "t"),
            ("t sort tasks: longest", "x"),
            ("throughput: 0.0 added/s  0.0 done/s  0.0 failed/s", "q"),
        ],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let order = |text: &str| (text.find("b-first").unwrap(), text.find("a-second").unwrap());
    let (fullest, by_name) = said.stdout.split_once("sort queues: name").unwrap();
    let (first, second) = order(fullest);
    assert!(first < second, "{fullest}");
    let (first, second) = order(by_name);
    assert!(second < first, "{by_name}");
    // The terminal is restored.
    assert!(said.stdout.ends_with("\u{1b}[?1049l"), "{said:?}");
}

#[test]
fn a_query_may_begin_with_a_comment() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["task", "add", "k"]);
    for sql in
        ["-- how many\nselect count(*) as n from queued_tasks", "/* how many */ select count(*) as n from queued_tasks"]
    {
        assert_eq!(sandbox.json(&["db", "query", sql]), json!([{"n": 1}]));
        assert_eq!(sandbox.json(&["db", "query", "--limit", "5", sql]), json!([{"n": 1}]));
    }
    assert_eq!(sandbox.run(&["db", "query", "-- only a comment"]).code, 2);
}
