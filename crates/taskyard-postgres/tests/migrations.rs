//! Migrations: many at once, foreign relations, newer and changed schemas, functions of other builds, schemas prepared
//! by other roles, and the views as an option.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::Error;
use taskyard_core::store::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::task;
use taskyard_testkit::postgres::shared;

mod harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_make_one_schema() {
    let url = shared().create_database();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let url = url.clone();
        runs.spawn(async move {
            let store = harness::open(&url).await;
            let report = store.migrate().await.unwrap();
            store.close().await;
            (report.applied.len(), report.to)
        });
    }
    let reports = runs.join_all().await;
    assert_eq!(reports.iter().filter(|(applied, _)| *applied > 0).count(), 1, "one did the work: {reports:?}");
    let known = harness::open(&url).await.schema().await.unwrap();
    assert!(known.pending.is_empty() && known.found == known.known);
    assert!(reports.iter().all(|(_, to)| *to == known.known));
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.migration"), known.known.to_string());
}

/// A snapshot older than the lock that was waited for would show a schema without its migrations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_isolation_of_a_database_decides_nothing() {
    for isolation in ["repeatable read", "serializable"] {
        let url = shared().create_database();
        let name = url.rsplit('/').next().unwrap();
        shared().psql(&format!("ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"));
        // The options of the URL are preserved.
        let url = format!("{url}?options=-c%20application_name%3Dkept");
        let mut runs = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = url.clone();
            runs.spawn(async move {
                let store = harness::open(&url).await;
                let report = store.migrate().await.unwrap();
                store.close().await;
                report.applied.len()
            });
        }
        let applied = runs.join_all().await;
        assert_eq!(applied.iter().filter(|applied| **applied > 0).count(), 1, "{applied:?}");
        let store = harness::open(&url).await;
        store.add(&[task()]).await.unwrap();
        let seen = store.query("SELECT current_setting('transaction_isolation') AS isolation", 1).await.unwrap();
        assert_eq!(seen.rows[0][0].get(), "\"read committed\"");
        store.close().await;
    }
}

#[tokio::test]
async fn a_foreign_relation_is_refused_and_nothing_is_changed() {
    for relation in [
        "CREATE TABLE queued_tasks (id int)",
        "CREATE VIEW queued_task_logs AS SELECT 1 AS one",
        "CREATE SEQUENCE queued_task_workers",
        "CREATE SCHEMA other; CREATE TABLE other.queued_tasks (id int); ALTER ROLE postgres IN DATABASE %DB% SET search_path = public, other",
    ] {
        let url = shared().create_database();
        shared().psql_in(&url, &relation.replace("%DB%", url.rsplit('/').next().unwrap()));
        let store = harness::open(&url).await;
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::ForeignRelation(name) if name.contains("queued_task")), "{error}");
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'taskyard'";
        assert_eq!(shared().psql_in(&url, schemas), "0", "the whole migration was undone");
        // A store without views works, and the views can be switched on again once the relation is removed.
        let without = PostgresStore::connect(&url, Options { views: false, ..Options::default() }).await.unwrap();
        without.migrate().await.unwrap();
        without.add(&[task()]).await.unwrap();
        assert!(matches!(store.migrate().await, Err(Error::ForeignRelation(_))));
        store.close().await;
        without.close().await;
    }
}

#[tokio::test]
async fn views_can_be_had_later() {
    let url = shared().create_database();
    let without = PostgresStore::connect(&url, Options { views: false, ..Options::default() }).await.unwrap();
    without.migrate().await.unwrap();
    assert_eq!(shared().psql_in(&url, "SELECT to_regclass('queued_tasks') IS NULL"), "t");
    harness::open(&url).await.migrate().await.unwrap();
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM queued_tasks"), "0");
}

#[tokio::test]
async fn a_newer_schema_and_a_changed_migration_are_refused() {
    let (store, url) = harness::fresh_with_address().await;
    shared().psql_in(&url, "INSERT INTO taskyard.migration (version, name, checksum) VALUES (999, 'later', 'x')");
    assert!(matches!(store.migrate().await, Err(Error::SchemaTooNew { found: 999, .. })));
    shared().psql_in(&url, "DELETE FROM taskyard.migration WHERE version = 999");
    store.migrate().await.unwrap();
}

/// Simulates a database whose functions and views were installed by another build.
fn install_of_another_build(url: &str, number: &str, hash: &str) {
    shared().psql_in(
        url,
        &format!(
            "CREATE OR REPLACE FUNCTION taskyard.shown_state(p_state smallint) RETURNS text LANGUAGE sql IMMUTABLE
             AS $$ SELECT 'of another build' $$;
             DROP VIEW queued_task_workers;
             UPDATE taskyard.setting SET value = '{number}' WHERE name = 'functions_build';
             UPDATE taskyard.setting SET value = '{hash}' WHERE name = 'functions_hash'"
        ),
    );
}

fn shown_state(url: &str) -> String {
    shared().psql_in(url, "SELECT taskyard.shown_state(4::smallint), to_regclass('queued_task_workers') IS NOT NULL")
}

#[tokio::test]
async fn functions_of_an_older_build_are_replaced_without_a_migration() {
    let (store, url) = harness::fresh_with_address().await;
    let noted = "SELECT name, value FROM taskyard.setting WHERE name LIKE 'functions%' ORDER BY name";
    let ours = shared().psql_in(&url, noted);
    let number: i64 = ours.lines().next().unwrap().split('|').nth(1).unwrap().parse().unwrap();
    // An older build; the same number with another text; a database from before builds were recorded.
    for (of, hash) in [((number - 1).to_string(), "0123456789abcdef"), (number.to_string(), "0123456789abcdef")] {
        install_of_another_build(&url, &of, hash);
        let schema = store.schema().await.unwrap();
        assert_eq!((schema.found, schema.pending), (schema.known, vec!["functions".to_owned()]));
        let report = store.migrate().await.unwrap();
        assert_eq!((report.from, report.applied), (report.to, vec!["functions".to_owned()]));
        assert_eq!(shown_state(&url), "done|t");
        assert_eq!(shared().psql_in(&url, noted), ours);
        assert!(store.migrate().await.unwrap().applied.is_empty(), "once is enough");
    }
    install_of_another_build(&url, "0", "");
    shared().psql_in(&url, "DELETE FROM taskyard.setting WHERE name LIKE 'functions%'");
    store.migrate().await.unwrap();
    assert_eq!(shown_state(&url), "done|t");
    assert_eq!(shared().psql_in(&url, noted), ours);
    // Functions that only the owner may call stay that way.
    let public =
        "SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'taskyard'::regnamespace
        AND a.grantee = 0 AND p.proname NOT LIKE 'shown%'";
    assert_eq!(shared().psql_in(&url, public), "0");
}

/// A dump restored without its privileges (`pg_restore --no-acl`) has functions without any; one may also be dropped by
/// hand.
#[tokio::test]
async fn functions_that_are_missing_or_open_to_everybody_are_put_right() {
    let (store, url) = harness::fresh_with_address().await;
    let open = "SELECT has_function_privilege('public', p.oid, 'execute') FROM pg_proc p
        WHERE p.pronamespace = 'taskyard'::regnamespace AND p.proname = 'enqueue_payload'";
    let damages = [
        "UPDATE pg_catalog.pg_proc SET proacl = NULL WHERE pronamespace = 'taskyard'::regnamespace",
        "DROP FUNCTION taskyard.task_stop",
    ];
    for damage in damages {
        shared().psql_in(&url, damage);
        assert_eq!(store.schema().await.unwrap().pending, ["functions"], "{damage}");
        assert_eq!(store.migrate().await.unwrap().applied, ["functions"], "{damage}");
        assert_eq!(shared().psql_in(&url, open), "f", "{damage}");
        assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM pg_proc WHERE proname = 'task_stop'"), "1");
        assert!(store.migrate().await.unwrap().applied.is_empty(), "once is enough");
    }
}

#[tokio::test]
async fn a_schema_without_its_data_is_refused_with_what_to_do() {
    let (store, url) = harness::fresh_with_address().await;
    shared().psql_in(&url, "TRUNCATE taskyard.migration, taskyard.setting");
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(error.contains("without its data") && error.contains("DROP SCHEMA taskyard CASCADE"), "{error}");
}

#[tokio::test]
async fn functions_of_a_newer_build_stay() {
    let (store, url) = harness::fresh_with_address().await;
    install_of_another_build(&url, "999999", "0123456789abcdef");
    assert!(store.schema().await.unwrap().pending.is_empty());
    assert!(store.migrate().await.unwrap().applied.is_empty());
    assert_eq!(shown_state(&url), "of another build|f", "neither its functions nor its views were touched");
    // Not even if the views had been left out.
    shared().psql_in(&url, "UPDATE taskyard.setting SET value = 'off' WHERE name = 'views'");
    store.migrate().await.unwrap();
    assert_eq!(shown_state(&url), "of another build|f");
    store.add(&[task()]).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_replace_functions_starts_with_those_of_an_older_build() {
    let (_, url) = harness::fresh_with_address().await;
    install_of_another_build(&url, "0", "0123456789abcdef");
    let (role, own) = role(&url, "worker", "");
    shared().psql_in(
        &url,
        &format!(
            "GRANT USAGE ON SCHEMA taskyard TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA taskyard TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA taskyard TO {role};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA taskyard TO {role}"
        ),
    );
    let store = harness::open(&own).await;
    let report = store.migrate().await.unwrap();
    assert_eq!((report.from, report.applied.len()), (report.to, 0));
    assert_eq!(store.schema().await.unwrap().pending, ["functions"], "and it is not hidden");
    store.add(&[task()]).await.unwrap();
    assert_eq!(shown_state(&url), "of another build|f");
    store.close().await;
    shared().psql_in(&url, &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// Creates a role that may log in; returns its name and its address for the database of `url`.
fn role(url: &str, name: &str, options: &str) -> (String, String) {
    let role = format!("{name}_{}", url.rsplit('/').next().unwrap());
    shared().psql(&format!("CREATE ROLE {role} LOGIN {options}"));
    let own = url.replace("postgres@", &format!("{role}@"));
    (role, own)
}

#[tokio::test]
async fn a_schema_that_another_role_prepared_is_refused_before_it_is_read() {
    // The prepared objects; with the last ones, the first read would already run code of the other role.
    let migrated =
        "CREATE TABLE taskyard.setting (name text, value text); CREATE TABLE taskyard.migration (version bigint)";
    let trap = "CREATE FUNCTION taskyard.trap() RETURNS bigint LANGUAGE plpgsql AS
            $$ BEGIN ALTER ROLE %ROLE% SUPERUSER; RETURN 6; END $$;
        CREATE VIEW taskyard.migration AS SELECT taskyard.trap() AS version, ''::text AS name, ''::text AS checksum;
        CREATE TABLE taskyard.setting (name text, value text)";
    for prepared in ["", migrated, trap] {
        let url = shared().create_database();
        let (role, own) = role(&url, "mallory", "");
        shared().psql_in(&url, &format!("CREATE SCHEMA taskyard AUTHORIZATION {role}"));
        let prepared = prepared.replace("%ROLE%", &role);
        shared().psql_in(&url, &format!("SET ROLE {role}; {prepared}"));
        let store = harness::open(&url).await;
        for error in [store.migrate().await.unwrap_err(), store.schema().await.unwrap_err()] {
            let text = error.to_string();
            assert!(matches!(error, Error::Refused(_)), "{text}");
            assert!(text.contains("the schema taskyard belongs to") && text.contains(&role), "{text}");
        }
        let is_superuser = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'");
        assert_eq!(shared().psql(&is_superuser), "f");
        let functions =
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'taskyard'::regnamespace AND proname <> 'trap'";
        assert_eq!(shared().psql_in(&url, functions), "0", "nothing was installed");
        // A role accepts its own schema.
        if prepared.is_empty() {
            shared().psql_in(&url, &format!("GRANT CREATE ON SCHEMA public TO {role}"));
            let own = harness::open(&own).await;
            own.migrate().await.unwrap();
            own.close().await;
        }
        store.close().await;
    }
}

#[tokio::test]
async fn single_objects_of_another_role_are_refused() {
    for (planted, named) in [
        ("ALTER TABLE taskyard.task OWNER TO %ROLE%", "the relation taskyard.task"),
        ("ALTER FUNCTION taskyard.now() OWNER TO %ROLE%", "the function taskyard.now"),
        ("CREATE DOMAIN taskyard.mine AS int; ALTER DOMAIN taskyard.mine OWNER TO %ROLE%", "the type taskyard.mine"),
        ("CREATE DOMAIN taskyard.list AS int[]; ALTER DOMAIN taskyard.list OWNER TO %ROLE%", "the type taskyard.list"),
        (
            "CREATE COLLATION taskyard.mine (locale = 'C'); ALTER COLLATION taskyard.mine OWNER TO %ROLE%",
            "the collation taskyard.mine",
        ),
        (
            "CREATE STATISTICS taskyard.mine ON queue, kind FROM taskyard.task; ALTER STATISTICS taskyard.mine OWNER TO %ROLE%",
            "the statistics object taskyard.mine",
        ),
        (
            "CREATE TEXT SEARCH CONFIGURATION taskyard.mine (COPY = simple);
             ALTER TEXT SEARCH CONFIGURATION taskyard.mine OWNER TO %ROLE%",
            "the text search configuration taskyard.mine",
        ),
        ("ALTER VIEW queued_tasks OWNER TO %ROLE%", "the view queued_tasks"),
    ] {
        let (store, url) = harness::fresh_with_address().await;
        let (role, _) = role(&url, "mallory", "");
        shared().psql_in(&url, &planted.replace("%ROLE%", &role));
        let text = store.migrate().await.unwrap_err().to_string();
        assert!(text.contains(named), "{text}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_schema_of_a_role_that_this_one_is_a_member_of_is_accepted() {
    let url = shared().create_database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let (owner, as_owner) = role(&url, "owner", "");
    let (member, as_member) = role(&url, "member", &format!("IN ROLE {owner}"));
    shared().psql_in(
        &url,
        &format!(
            "GRANT CREATE ON DATABASE {database} TO {owner}, {member}; GRANT CREATE ON SCHEMA public TO {owner}, {member}"
        ),
    );
    let store = harness::open(&as_owner).await;
    store.migrate().await.unwrap();
    store.close().await;
    let store = harness::open(&as_member).await;
    store.migrate().await.unwrap();
    store.add(&[task()]).await.unwrap();
    store.close().await;
    // A stranger that may create schemas is refused; a worker that may not is not the role that migrates.
    let (stranger, as_stranger) = role(&url, "stranger", "");
    shared().psql_in(
        &url,
        &format!(
            "GRANT USAGE ON SCHEMA taskyard TO {stranger}; GRANT ALL ON ALL TABLES IN SCHEMA taskyard TO {stranger};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA taskyard TO {stranger};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA taskyard TO {stranger}"
        ),
    );
    let store = harness::open(&as_stranger).await;
    store.migrate().await.unwrap();
    store.add(&[task()]).await.unwrap();
    shared().psql(&format!("GRANT CREATE ON DATABASE {database} TO {stranger}"));
    assert!(matches!(store.migrate().await, Err(Error::Refused(_))));
    store.close().await;
    // A superuser that is not a member is refused, and accepted once it is one.
    let store = harness::open(&url).await;
    assert!(matches!(store.migrate().await, Err(Error::Refused(_))));
    shared().psql(&format!("GRANT {owner} TO postgres"));
    store.migrate().await.unwrap();
    store.close().await;
}
