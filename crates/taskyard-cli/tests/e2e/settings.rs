//! Settings from files, environment and flags, observed through the commands.

use serde_json::json;

use crate::sandbox::{Sandbox, said};

#[test]
fn settings_of_every_place_are_in_effect_in_rising_order() {
    let sandbox = Sandbox::new();
    let retries = |environment: &[(&str, &str)], flags: &[&str]| {
        let arguments = [&["task", "add", "k", "--json"], flags].concat();
        let added = said(sandbox.taskyard(&arguments).envs(environment.iter().copied()));
        assert_eq!(added.code, 0, "{added:?}");
        let id: serde_json::Value = serde_json::from_str(&added.stdout).unwrap();
        sandbox.json(&["task", "show", id["id"].as_str().unwrap()])["task"]["retry"]["max_retries"].clone()
    };
    assert_eq!(retries(&[], &[]), 3);
    std::fs::write(sandbox.join("taskyard.toml"), "max_retries = 4\n").unwrap();
    assert_eq!(retries(&[], &[]), 4);
    std::fs::write(sandbox.join("pyproject.toml"), "[tool.taskyard]\nmax_retries = 5\n").unwrap();
    assert_eq!(retries(&[], &[]), 5);
    std::fs::write(sandbox.join(".env"), "QUEUE_MAX_RETRIES=6\n").unwrap();
    assert_eq!(retries(&[], &[]), 6);
    assert_eq!(retries(&[("QUEUE_MAX_RETRIES", "7")], &[]), 7);
    assert_eq!(retries(&[("QUEUE_MAX_RETRIES", "7")], &["--set", "max_retries=8"]), 8);
    assert_eq!(retries(&[("QUEUE_MAX_RETRIES", "7")], &["--set", "max_retries=8", "--max-retries", "9"]), 9);
}

#[test]
fn a_time_limit_and_the_number_of_workers() {
    let sandbox = Sandbox::new();
    let limited = |value: &str| {
        let added = said(sandbox.taskyard(&["task", "add", "k"]).env("QUEUE_TASK_TIMEOUT", value));
        sandbox.json(&["task", "show", added.stdout.trim()])["task"]["timeout_ms"].clone()
    };
    assert_eq!(limited("7"), 7_000);
    assert_eq!(limited("0"), json!(null));

    let mut command = sandbox.application(&["queue", "start"]);
    command.env("QUEUE_MAX_WORKERS", "3").env("TASKYARD_SERVER_NAME", "by environment");
    let mut server = crate::sandbox::Running::start(&mut command);
    server.until_stderr("the server runs");
    let servers = sandbox.json(&["queue", "servers"]);
    assert_eq!((&servers[0]["workers_max"], &servers[0]["name"]), (&json!(3), &json!("by environment")));
}

#[test]
fn an_old_task_is_unhealthy_by_the_setting() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["task", "add", "k", "--queue", "unserved"]);
    let _server = sandbox.server(&["--queues", "other"]);
    assert_eq!(sandbox.run(&["queue", "status"]).code, 0);
    let strict = sandbox.run(&["queue", "status", "--set", "unhealthy_age=10ms"]);
    assert!(strict.code == 1 && strict.stdout.contains("oldest enqueued task"), "{strict:?}");
    assert_eq!(sandbox.run(&["queue", "status", "--max-age", "10ms"]).code, 1);
}

#[test]
fn the_database_lies_in_the_root_of_the_project() {
    let sandbox = Sandbox::new();
    let deep = sandbox.join("src/deep");
    std::fs::create_dir_all(&deep).unwrap();
    let added =
        said(sandbox.taskyard(&["task", "add", "k"]).current_dir(&deep).env("DATABASE_URL", "sqlite:///app.db"));
    assert_eq!(added.code, 0, "{added:?}");
    assert!(sandbox.join(".taskyard/queue.db").exists());
    assert_eq!(std::fs::read_to_string(sandbox.join(".taskyard/.gitignore")).unwrap(), "*\n");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(sandbox.join(".taskyard").metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let elsewhere = said(sandbox.taskyard(&["task", "add", "k"]).env("TASKYARD_DATABASE_URL", "other.db"));
    assert_eq!(elsewhere.code, 0, "{elsewhere:?}");
    assert!(sandbox.join("other.db").exists());
    sandbox.ok(&["task", "add", "k", "--database", &format!("sqlite:///{}", sandbox.join("third.db").display())]);
    assert!(sandbox.join("third.db").exists());
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let sandbox = Sandbox::new();
    for (name, text, part) in [
        ("taskyard.toml", "max_workers = 0", "taskyard.toml"),
        ("taskyard.toml", "no_such_setting = 1", "no_such_setting"),
        ("taskyard.toml", "max_workers = = 1", "line 1"),
        (".env", "QUEUE_POLLING_INTERVAL=never", ".env"),
    ] {
        std::fs::write(sandbox.join(name), text).unwrap();
        let said = sandbox.run(&["task", "add", "k"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.starts_with("error: setting ") && said.stderr.contains(part), "{said:?}");
        std::fs::write(sandbox.join(name), "").unwrap();
    }
    std::fs::write(sandbox.join(".env"), "OTHERS ok\nDATABASE_URL: postgresql://u:geheim@h/d\n").unwrap();
    let said = sandbox.run(&["task", "add", "k"]);
    assert!(said.code == 2 && said.stderr.contains("line 2: DATABASE_URL is not followed by"), "{said:?}");
    assert!(!said.stderr.contains("geheim"), "{said:?}");
    std::fs::write(sandbox.join(".env"), "").unwrap();
    for (name, bytes, part) in [
        ("taskyard.toml", utf16("max_retries = 1\n", true), "UTF-16"),
        (".env", utf16("QUEUE_MAX_RETRIES=1\n", false), "UTF-16"),
        (".env", b"QUEUE_MAX_RETRIES=1\nNAME=\xE4\n".to_vec(), "line 2 is not UTF-8"),
        (".env", b"NAME=a\rQUEUE_MAX_RETRIES=1\r".to_vec(), "carriage return"),
    ] {
        std::fs::write(sandbox.join(name), bytes).unwrap();
        let said = sandbox.run(&["task", "add", "k"]);
        assert!(said.code == 2 && said.stderr.contains(name) && said.stderr.contains(part), "{said:?}");
        std::fs::write(sandbox.join(name), "").unwrap();
    }
    let said = sandbox.run(&["task", "add", "k", "--set", "no_such=1"]);
    assert!(said.code == 2 && said.stderr.contains("the command line"), "{said:?}");
    assert_eq!(sandbox.run(&["task", "add", "k", "--set", "nothing"]).code, 2);
    assert!(!sandbox.join(".taskyard").exists());
}

/// Encodes a text as some editors on Windows save it.
fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let mark: &[u8] = if mark { b"\xFF\xFE" } else { b"" };
    [mark.to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()
}

#[test]
fn files_with_a_byte_order_mark_and_crlf_are_read_right() {
    let retries = |sandbox: &Sandbox| {
        let id = sandbox.ok(&["task", "add", "k"]);
        sandbox.json(&["task", "show", &id])["task"]["retry"]["max_retries"].clone()
    };
    for (name, text) in [
        ("taskyard.toml", "max_retries = 7\r\n"),
        ("pyproject.toml", "[tool.taskyard]\r\nmax_retries = 7\r\n"),
        (".env", "QUEUE_MAX_RETRIES=7\r\nOTHER=x\r\n"),
    ] {
        let sandbox = Sandbox::new();
        std::fs::write(sandbox.join(name), format!("\u{feff}{text}")).unwrap();
        assert_eq!(retries(&sandbox), 7, "{name}");
    }
}
