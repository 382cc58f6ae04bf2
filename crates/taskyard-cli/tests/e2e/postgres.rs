//! The same commands on PostgreSQL, where they differ: addresses, refusals, the demo beside other servers, queries.

use serde_json::{Value, json};
use taskyard_testkit::postgres::shared;

use crate::demo::report;
use crate::place::{Place, Running, eventually, said};

#[test]
fn tasks_go_their_way() {
    let place = Place::on(shared().create_database());
    assert_eq!(place.json(&["db", "migrate"])["from"], 0);
    assert_eq!(place.json(&["db", "status"])["current"], true);
    std::fs::write(place.join("file"), "a\nb\n").unwrap();
    let mut server = place.server(&["-w", "2"]);
    let args = json!([place.path(), "file"]).to_string();
    let id = place.ok(&["task", "add", "taskyard::demo::file", "--args", &args]);
    let result: Value = serde_json::from_str(&place.ok(&["task", "wait", &id])).unwrap();
    assert_eq!(result["lines"], 2);
    assert!(place.ok(&["task", "logs", &id]).contains("read"));
    assert_eq!(place.json(&["queue", "status"])["healthy"], true);
    assert_eq!(place.json(&["queue", "servers"])[0]["workers_max"], 2);
    assert!(place.ok(&["task", "list"]).contains(&id));

    let failing = json!([place.path(), "none"]).to_string();
    let dead = place.ok(&["task", "add", "taskyard::demo::file", "--args", &failing]);
    assert_eq!(place.run(&["task", "wait", &dead]).code, 1);
    assert_eq!(place.json(&["dead", "list"])[0]["id"], json!(dead));
    assert_eq!(place.json(&["dead", "retry"])["retried"], 1);
    place.run(&["task", "wait", &dead]);
    assert_eq!(place.json(&["dead", "purge", "--yes"])["deleted"], 1);
    assert_eq!(place.json(&["queue", "purge", "--yes"])["deleted"], 1);
    assert!(server.seen.iter().any(|line| line.starts_with("database: postgresql://postgres@")));
    server.signal("TERM");
    server.until_stderr("stopping");
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn queues_are_paused_cleared_and_limited() {
    let place = Place::on(shared().create_database());
    for _ in 0..3 {
        place.ok(&["task", "add", "k", "--queue", "mail"]);
    }
    place.ok(&["queue", "pause", "mail"]);
    place.ok(&["queue", "limit", "mail", "2"]);
    let stats = place.json(&["queue", "stats"]);
    let mail = stats.as_array().unwrap().iter().find(|queue| queue["name"] == "mail").unwrap();
    assert_eq!((&mail["paused"], &mail["running_max"], &mail["enqueued"]), (&json!(true), &json!(2), &json!(3)));
    assert_eq!(place.json(&["queue", "clear", "--yes"])["cancelled"], 3);
    place.ok(&["queue", "drain", "mail"]);
    assert_eq!(place.json(&["queue", "retry"])["retried"], 0);
}

#[test]
fn a_query_reads_and_never_writes() {
    let place = Place::on(shared().create_database());
    place.ok(&["task", "add", "k"]);
    let rows = place.json(&[
        "db",
        "query",
        "select state, count(*) as n, null as nothing, true as yes, 1.5 as x from queued_tasks group by state",
    ]);
    assert_eq!(rows[0]["state"], "enqueued");
    assert_eq!((&rows[0]["n"], &rows[0]["nothing"], &rows[0]["yes"]), (&json!(1), &Value::Null, &json!(true)));
    let some = place.run(&["db", "query", "--limit", "2", "select generate_series(1, 1000000)"]);
    assert!(some.code == 0 && some.stderr.contains("more rows"), "{some:?}");
    for wrong in [
        "delete from taskyard.task",
        "select 1; delete from taskyard.task",
        "with gone as (delete from taskyard.task returning 1) select * from gone",
        "commit",
        "copy (select 1) to program 'true'",
        "select nextval('no_such')",
        "selekt",
    ] {
        let said = place.run(&["db", "query", wrong]);
        assert!(said.code != 0 && said.stderr.starts_with("error: ") && said.stdout.is_empty(), "{wrong}: {said:?}");
    }
    assert_eq!(place.json(&["task", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_wrong_address_is_one_clear_sentence() {
    let place = Place::new();
    let cluster = shared();
    let none = place.run(&["task", "list", "--database", &cluster.url("no_such_database")]);
    assert!(none.code == 3 && none.stderr.contains("no_such_database"), "{none:?}");
    let role = cluster.url("postgres").replace("postgres@", "nobody_here:geheim@");
    let refused = place.run(&["task", "list", "--database", &role]);
    assert!(refused.code == 3 && refused.stderr.starts_with("error: "), "{refused:?}");
    assert!(!refused.stderr.contains("geheim"), "{refused:?}");
    let away = place.run(&["task", "list", "--database", "postgresql://postgres@127.0.0.1:1/x"]);
    assert!(away.code == 3 && away.stderr.contains("cannot reach the database"), "{away:?}");
}

#[test]
fn settings_of_a_server_show_in_the_database() {
    let database = shared().create_database();
    let place = Place::on(database.clone());
    let mut command = place.taskyard(&["queue", "start"]);
    command.env("QUEUE_NOTIFY_CHANNEL", "another_channel");
    let mut server = Running::start(&mut command);
    server.until_stderr("the server runs");
    let listening = "select count(*) from pg_stat_activity where query ilike 'listen%another_channel%' and datname = current_database()";
    eventually("it listens there", || shared().psql_in(&database, listening) != "0");
}

#[test]
fn the_demo_runs_beside_another_server_and_counts_its_own() {
    let database = shared().create_database();
    let place = Place::on(database.clone());
    let root = place.join("tree");
    std::fs::create_dir(&root).unwrap();
    for at in 0..300 {
        std::fs::write(root.join(format!("{at}")), format!("{}\n", at % 100)).unwrap();
    }
    place.ok(&["task", "add", "other::kind", "--queue", "other"]);
    let _server = place.server(&["-w", "1"]);
    let demo = said(&mut place.taskyard(&["demo", "tree", "--json", "--database", &database]));
    assert_eq!(demo.code, 0, "{demo:?}");
    let report = report(&demo);
    assert_eq!((&report["files"], &report["failed"]), (&json!(300), &json!(0)));
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 100);
    assert!(!root.join(".taskyard/demo.db").exists(), "it ran on PostgreSQL");
    assert_eq!(place.json(&["task", "list", "--kind", "taskyard::demo::report"]).as_array().unwrap().len(), 1);
    assert_eq!(place.json(&["task", "list", "--kind", "other::kind"]).as_array().unwrap().len(), 1);
}
