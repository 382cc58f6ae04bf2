//! Commands on PostgreSQL where they differ: addresses, refusals, the demo beside other servers, queries.

use serde_json::{Value, json};
use taskyard_testkit::postgres::shared;

use crate::demo::report;
use crate::sandbox::{Running, Sandbox, eventually, said};

#[test]
fn tasks_go_their_way() {
    let sandbox = Sandbox::on(shared().create_database());
    assert_eq!(sandbox.json(&["db", "migrate"])["from"], 0);
    assert_eq!(sandbox.json(&["db", "status"])["current"], true);
    std::fs::write(sandbox.join("file"), "a\nb\n").unwrap();
    let mut server = sandbox.server(&["-w", "2"]);
    let args = json!([sandbox.path(), "file"]).to_string();
    let id = sandbox.ok(&["task", "add", "files::measure", "--args", &args]);
    let result: Value = serde_json::from_str(&sandbox.ok(&["task", "wait", &id])).unwrap();
    assert_eq!(result["lines"], 2);
    assert!(sandbox.ok(&["task", "logs", &id]).contains("read"));
    assert_eq!(sandbox.json(&["queue", "status"])["healthy"], true);
    assert_eq!(sandbox.json(&["queue", "servers"])[0]["workers_max"], 2);
    assert!(sandbox.ok(&["task", "list"]).contains(&id));

    let failing = json!([sandbox.path(), "none"]).to_string();
    let dead = sandbox.ok(&["task", "add", "files::measure", "--args", &failing]);
    assert_eq!(sandbox.run(&["task", "wait", &dead]).code, 1);
    assert_eq!(sandbox.json(&["dead", "list"])[0]["id"], json!(dead));
    assert_eq!(sandbox.json(&["dead", "retry", "--yes"])["retried"], 1);
    sandbox.run(&["task", "wait", &dead]);
    assert_eq!(sandbox.json(&["dead", "purge", "--yes"])["deleted"], 1);
    assert_eq!(sandbox.json(&["queue", "purge", "--yes"])["deleted"], 1);
    assert!(server.seen.iter().any(|line| line.starts_with("database: postgresql://postgres@")));
    server.signal("TERM");
    server.until_stderr("stopping");
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn queues_are_paused_cleared_and_limited() {
    let sandbox = Sandbox::on(shared().create_database());
    for _ in 0..3 {
        sandbox.ok(&["task", "add", "k", "--queue", "mail"]);
    }
    sandbox.ok(&["queue", "pause", "mail"]);
    sandbox.ok(&["queue", "limit", "mail", "2"]);
    let stats = sandbox.json(&["queue", "stats"]);
    let mail = stats.as_array().unwrap().iter().find(|queue| queue["name"] == "mail").unwrap();
    assert_eq!((&mail["paused"], &mail["running_max"], &mail["enqueued"]), (&json!(true), &json!(2), &json!(3)));
    assert_eq!(sandbox.json(&["queue", "clear", "--yes"])["cancelled"], 3);
    sandbox.ok(&["queue", "drain", "mail"]);
    assert_eq!(sandbox.json(&["queue", "retry", "-y"])["retried"], 0);
}

#[test]
fn a_query_reads_and_never_writes() {
    let sandbox = Sandbox::on(shared().create_database());
    sandbox.ok(&["task", "add", "k"]);
    let rows = sandbox.json(&[
        "db",
        "query",
        "select state, count(*) as n, null as nothing, true as yes, 1.5 as x from queued_tasks group by state",
    ]);
    assert_eq!(rows[0]["state"], "enqueued");
    assert_eq!((&rows[0]["n"], &rows[0]["nothing"], &rows[0]["yes"]), (&json!(1), &Value::Null, &json!(true)));
    let some = sandbox.run(&["db", "query", "--limit", "2", "select generate_series(1, 1000000)"]);
    assert!(some.code == 0 && some.stderr.contains("rows are shown"), "{some:?}");
    for wrong in [
        "delete from taskyard.task",
        "select 1; delete from taskyard.task",
        "with gone as (delete from taskyard.task returning 1) select * from gone",
        "commit",
        "copy (select 1) to program 'true'",
        "select nextval('no_such')",
        "selekt",
    ] {
        let said = sandbox.run(&["db", "query", wrong]);
        assert!(said.code != 0 && said.stderr.starts_with("error: ") && said.stdout.is_empty(), "{wrong}: {said:?}");
    }
    assert_eq!(sandbox.json(&["task", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn functions_of_an_older_build_are_shown_and_replaced() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    sandbox.ok(&["db", "migrate"]);
    shared().psql_in(&database, "UPDATE taskyard.setting SET value = '0' WHERE name = 'functions_build'");
    let status = sandbox.run(&["db", "status"]);
    assert!(status.code == 1 && status.stdout.contains("functions are of an older build"), "{status:?}");
    assert!(sandbox.ok(&["db", "migrate"]).contains("functions were replaced"));
    assert!(sandbox.ok(&["db", "status"]).contains("current"));
    assert!(sandbox.ok(&["db", "migrate"]).contains("nothing to do"));
}

#[test]
fn a_wrong_address_is_one_clear_sentence() {
    let sandbox = Sandbox::new();
    let cluster = shared();
    let none = sandbox.run(&["task", "list", "--database", &cluster.url("no_such_database")]);
    assert!(none.code == 3 && none.stderr.contains("no_such_database"), "{none:?}");
    let role = cluster.url("postgres").replace("postgres@", "nobody_here:geheim@");
    let refused = sandbox.run(&["task", "list", "--database", &role]);
    assert!(refused.code == 3 && refused.stderr.starts_with("error: "), "{refused:?}");
    assert!(!refused.stderr.contains("geheim"), "{refused:?}");
    let away = sandbox.run(&["task", "list", "--database", "postgresql://postgres@127.0.0.1:1/x"]);
    assert!(away.code == 3 && away.stderr.contains("cannot reach the database"), "{away:?}");
}

#[test]
fn the_status_says_what_is_estimated_and_what_is_wrong() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    let _server = sandbox.server(&[]);
    let sql = |sql: &str| shared().psql_in(&database, sql);
    let status = || {
        let said = sandbox.run(&["queue", "status", "--json"]);
        (said.code, serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap())
    };
    let problem = |part: &str| {
        let (code, status) = status();
        let found = status["problems"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().contains(part));
        assert!(!found || (code == 1 && status["healthy"] == false), "{status}");
        found
    };
    assert_eq!((status().0, &status().1["estimated"]), (0, &json!([])));
    // A database that refuses additions, as with a full disk.
    sql("CREATE FUNCTION taskyard.full() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON taskyard.task FOR EACH ROW EXECUTE FUNCTION taskyard.full()");
    assert!(problem("no space left"));
    sql("DROP TRIGGER full_disk ON taskyard.task");
    assert_eq!(status().0, 0);
    assert_eq!(sql("SELECT count(*) FROM taskyard.task"), "0", "what was tried is not there");
    // A task that no server can run.
    sandbox.ok(&["task", "add", "nobody::knows"]);
    eventually("the task is parked", || problem("1 task is parked"));
    // Statistics as of a large table.
    sql("UPDATE pg_class SET relpages = 30000, reltuples = 3198244 WHERE oid = 'taskyard.task'::regclass");
    assert_eq!(status().1["estimated"], json!(["stopped", "done", "cancelled"]));
    let text = sandbox.run(&["queue", "status"]).stdout;
    let shown = |state: &str| text.lines().find(|line| line.starts_with(state)).unwrap().to_owned();
    assert!(["stopped", "done", "cancelled"].iter().all(|state| shown(state).contains("about ")), "{text}");
    assert!(["waiting", "enqueued", "failed"].iter().all(|state| !shown(state).contains("about ")), "{text}");
    assert!(sandbox.ok(&["queue", "stats"]).contains("about "), "wherever they are shown");
    assert_eq!(sandbox.json(&["top", "--once"])["estimated"], json!(["stopped", "done", "cancelled"]));
}

#[test]
fn passwords_never_show_and_an_address_that_is_none_makes_no_file() {
    let sandbox = Sandbox::new();
    let database = shared().create_database();
    let (authority, name) = database.trim_start_matches("postgresql://postgres@").split_once('/').unwrap();
    let (host, port) = authority.split_once(':').unwrap();
    let before = std::fs::read_dir(sandbox.path()).unwrap().count();
    let keywords = format!("host={host} port={port} dbname={name} user=postgres password='geheim es'");
    for address in [&format!("postgresql://postgres:geh/eim@{authority}/{name}"), &keywords] {
        let migrated = sandbox.run(&["db", "migrate", "--database", address]);
        assert!(migrated.code == 0 && migrated.stdout.contains(name), "{migrated:?}");
        assert!(!format!("{migrated:?}").contains("eim"), "{migrated:?}");
    }
    for address in [
        "postgresql://u:ge@heim@127.0.0.1:1/d",
        "postgresql://u:geh/eim@127.0.0.1:1/d",
        "postgresql:/u:geheim@h/d",
        "mysql://u:geheim@h/d",
        "sqlite://u:geheim@h/d",
        "u:geheim@h/d",
        "host=127.0.0.1 port=1 password=geheim",
        "host=127.0.0.1;password=geheim",
        "Server=h;Pwd=geheim",
        "'postgresql://u:geheim@h/d'",
    ] {
        for arguments in [&["task", "list"][..], &["db", "migrate"], &["queue", "status"], &["db", "status", "--json"]]
        {
            let said = sandbox.run(&[arguments, &["--database", address]].concat());
            assert!(said.code == 2 || said.code == 3, "{address}: {said:?}");
            assert!(!format!("{said:?}").contains("heim") && !said.stderr.contains("eim@"), "{address}: {said:?}");
        }
    }
    let misplaced = "postgresql://u:geheim@h/d";
    for arguments in [
        &["db", "status", misplaced][..],
        &["--set", misplaced, "db", "status"],
        &["--set", &format!("max_workers={misplaced}"), "db", "status"],
        &["--set", "queue_order=host=h password=geheim", "db", "status"],
        &["task", "list", "--limit", misplaced],
        &["db", "status", "u:geheim@h/d"],
        &["db", "status", "Server=h;Pwd=geheim"],
    ] {
        let said = sandbox.run(arguments);
        assert!(said.code == 2 && !format!("{said:?}").contains("heim"), "{arguments:?}: {said:?}");
    }
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), before, "no file was made");
}

#[test]
fn the_channel_and_the_polling_of_the_settings_are_used() {
    let sandbox = Sandbox::on(shared().create_database());
    let file = json!([sandbox.path(), "taskyard.toml"]).to_string();
    let mut command = sandbox.application(&["queue", "start"]);
    command.env("QUEUE_NOTIFY_CHANNEL", "another_channel").env("QUEUE_FALLBACK_POLLING_INTERVAL", "3600");
    let mut server = Running::start(&mut command);
    server.until_stderr("the server runs");
    let add = |channel: &str| {
        let mut command = sandbox.taskyard(&["task", "add", "files::measure", "--args", &file]);
        let added = said(command.env("QUEUE_NOTIFY_CHANNEL", channel));
        assert_eq!(added.code, 0, "{added:?}");
        added.stdout.trim().to_owned()
    };
    let is_done = |id: &str| sandbox.run(&["task", "wait", id, "--timeout", "20s"]).code == 0;
    assert!(is_done(&add("another_channel")), "the server listens");
    // Notifications of other connections are not received, and the polling interval is an hour. A server that has just been busy
    // still polls for a while, which cannot be observed from outside, so each attempt waits longer.
    let unheard = (0..8).map(|at| (at, add("queue_new_task"))).find(|(at, id)| {
        let is_heard = sandbox.run(&["task", "wait", id, "--timeout", "700ms"]).code == 0;
        std::thread::sleep(std::time::Duration::from_millis(if is_heard { 100 << at } else { 0 }));
        !is_heard
    });
    let unheard = unheard.map(|(_, id)| id);
    let unheard = unheard.expect("a notification on another channel must not wake the server");
    assert!(is_done(&add("another_channel")) && is_done(&unheard));
}

#[test]
fn without_notifications_a_server_polls_as_often_as_it_is_told() {
    let sandbox = Sandbox::on(shared().create_database());
    let file = json!([sandbox.path(), "taskyard.toml"]).to_string();
    let settings =
        "QUEUE_USE_POSTGRESQL_NOTIFY=false\nQUEUE_POLLING_INTERVAL=0.1\nQUEUE_FALLBACK_POLLING_INTERVAL=3600\n";
    std::fs::write(sandbox.join(".env"), settings).unwrap();
    let _server = sandbox.server(&[]);
    let id = sandbox.ok(&["task", "add", "files::measure", "--args", &file]);
    assert_eq!(sandbox.run(&["task", "wait", &id, "--timeout", "20s"]).code, 0);
}

#[test]
fn the_demo_runs_beside_another_server_and_counts_its_own() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    let root = sandbox.join("tree");
    std::fs::create_dir(&root).unwrap();
    for at in 0..300 {
        std::fs::write(root.join(format!("{at}")), format!("{}\n", at % 100)).unwrap();
    }
    sandbox.ok(&["task", "add", "other::kind", "--queue", "other"]);
    let _server = sandbox.server(&["-w", "1"]);
    let demo = said(&mut sandbox.taskyard(&["demo", "tree", "--json", "--database", &database]));
    assert_eq!(demo.code, 0, "{demo:?}");
    let report = report(&demo);
    assert_eq!((&report["files"], &report["failed"]), (&json!(300), &json!(0)));
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 100);
    assert!(!root.join(".taskyard/demo.db").exists(), "it ran on PostgreSQL");
    assert_eq!(sandbox.json(&["task", "list", "--kind", "taskyard::demo::report"]).as_array().unwrap().len(), 1);
    assert_eq!(sandbox.json(&["task", "list", "--kind", "other::kind"]).as_array().unwrap().len(), 1);
}

#[test]
fn tasks_that_a_restored_dump_left_out_of_the_range_are_shown_and_put_back() {
    let database = shared().create_database();
    let sandbox = Sandbox::on(database.clone());
    for _ in 0..3 {
        sandbox.ok(&["task", "add", "files::measure", "--args", &json!([sandbox.path(), "taskyard.toml"]).to_string()]);
    }
    assert!(sandbox.ok(&["db", "check"]).contains("3 tasks were compared"));
    shared().psql_in(&database, "DELETE FROM taskyard.ready");
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
    shared().psql_in(&database, "DELETE FROM taskyard.ready");
    let _server = sandbox.server(&[]);
    let listed = sandbox.json(&["task", "list"]);
    for task in listed.as_array().unwrap() {
        assert_eq!(sandbox.run(&["task", "wait", task["id"].as_str().unwrap(), "--timeout", "30s"]).code, 0);
    }
}
