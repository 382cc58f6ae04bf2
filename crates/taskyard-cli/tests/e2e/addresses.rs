//! Database addresses in the form of other libraries: they work, or the error names the right form.

use serde_json::json;
use taskyard_testkit::postgres::shared;

use crate::sandbox::{self, Sandbox};

#[test]
fn sqlite_addresses_of_other_libraries() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["task", "add", "k", "--database", "sqlite://q.db?mode=rwc"]);
    assert!(sandbox.join("q.db").exists());
    sandbox.ok(&["task", "list", "--database", "sqlite:q.db?mode=rw"]);
    for command in [&["task", "add", "k"][..], &["task", "list"], &["queue", "start"]] {
        for (address, part) in [
            ("sqlite:///taskyard-no-such-file.db", "write sqlite:taskyard-no-such-file.db"),
            ("sqlite:///taskyard-no-such-directory/q.db", "write sqlite:taskyard-no-such-directory/q.db"),
            ("sqlite://other.db?mode=rw", "write mode=rwc"),
            ("sqlite://q.db?mode=ro", "write mode=rwc"),
            ("sqlite:///:memory:", "name a file"),
            ("sqlite://", "name a file"),
            (":memory:", "name a file"),
            ("sqlite+aiosqlite:///q.db", "write sqlite:PATH"),
        ] {
            let said = sandbox.run(&[command, &["--database", address]].concat());
            assert!(said.code == 2 && said.stderr.contains(part), "{address}: {said:?}");
        }
    }
    let absolute = format!("sqlite:///{}", sandbox.join("absolute.db").display().to_string().trim_start_matches('/'));
    sandbox.ok(&["task", "add", "k", "--database", &absolute]);
    assert!(sandbox.join("absolute.db").exists() && !sandbox.join("other.db").exists());
    // In a settings file a relative path is resolved from the root, and the parameter `mode` still applies.
    std::fs::write(sandbox.join("taskyard.toml"), "database = \"sqlite:new.db?mode=rw\"").unwrap();
    let said = sandbox.run(&["task", "add", "k"]);
    assert!(said.code == 2 && said.stderr.contains("new.db, and mode=rw does not create it"), "{said:?}");
    std::fs::write(sandbox.join("taskyard.toml"), "database = \"sqlite:new.db?mode=rwc\"").unwrap();
    sandbox.ok(&["task", "add", "k"]);
    assert!(sandbox.join("new.db").exists());
}

#[test]
fn postgresql_addresses_of_libpq_and_of_providers() {
    let database = shared().create_database();
    shared().psql_in(&database, "CREATE SCHEMA \"my own\"");
    let more = "schema=my%20own&pgbouncer=true&gssencmode=prefer&target_session_attrs=primary&keepalives=1&keepalives_idle=30\
                &keepalives_interval=5&keepalives_count=3&tcp_user_timeout=5000&channel_binding=prefer&sslmode=disable";
    let join = if database.contains('?') { '&' } else { '?' };
    let sandbox = Sandbox::on(format!("{database}{join}{more}"));
    sandbox.ok(&["task", "add", "k"]);
    let views = "SELECT schemaname FROM pg_views WHERE viewname = 'queued_tasks'";
    assert_eq!(shared().psql_in(&database, views), "my own");
    assert_eq!(sandbox.json(&["db", "query", "select count(*) as n from queued_tasks"]), json!([{"n": 1}]));
    for (more, part) in [
        ("target_session_attrs=standby", "read-write"),
        ("gssencmode=require", "sslmode=verify-full"),
        ("connection_limit=5", "leave it out"),
    ] {
        let said = sandbox.run(&["task", "list", "--database", &format!("{database}{join}{more}")]);
        assert!(said.code == 2 && said.stderr.contains(part), "{said:?}");
    }
}

#[test]
fn a_database_that_takes_no_tables_says_why() {
    let database = shared().create_database();
    let name = database.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let sandbox = Sandbox::on(database.clone());
    shared().psql_in(&database, &format!("ALTER DATABASE {name} SET search_path = ''"));
    let said = sandbox.run(&["db", "migrate"]);
    let parts = ["the search path is empty", "ALTER ROLE", "schema=public", "TASKYARD_VIEWS=false"];
    assert!(said.code == 3 && parts.iter().all(|part| said.stderr.contains(part)), "{said:?}");
    sandbox.ok(&["db", "migrate", "--set", "views=false"]);
    shared().psql_in(&database, &format!("ALTER DATABASE {name} RESET search_path"));
    sandbox.ok(&["db", "migrate"]);

    shared().psql_in(&database, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let said = sandbox.run(&["task", "add", "k"]);
    assert!(said.code == 3 && said.stderr.contains("default_transaction_read_only"), "{said:?}");
    sandbox.ok(&["task", "list"]);
    let status = sandbox.run(&["queue", "status"]);
    assert!(status.code == 1 && status.stdout.contains("default_transaction_read_only"), "{status:?}");
    let server = sandbox::said(&mut sandbox.application(&["queue", "start"]));
    assert!(server.code == 3 && server.stderr.contains("default_transaction_read_only"), "{server:?}");

    let missing = database.replace(&name, "no_such_database");
    let said = sandbox.run(&["task", "add", "k", "--database", &missing]);
    assert!(said.code == 3 && said.stderr.contains("\"no_such_database\" does not exist: create it"), "{said:?}");
    assert!(said.stderr.contains("hint: check the name of the database"), "{said:?}");
}
