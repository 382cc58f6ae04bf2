//! Adding and ending tasks inside the caller's own transaction, from SQL and from Rust.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::schedule::{NewSchedule, OnConflict};
use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{Claimed, Finish, Outcome, Store};
use taskyard_core::task::{ExtraOptions, Unique, UniqueHold};
use taskyard_core::{Error, NewTask, ServerId, TaskId, TaskState, WaitReason};
use taskyard_postgres::{PostgresStore, complete_in, enqueue_in};
use taskyard_testkit::factory::{child_of, failure, of_kind, request, server, task};
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

mod harness;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn enter(store: &PostgresStore) -> ServerId {
    let host = server();
    store.server_enter(&host).await.unwrap();
    host.id
}

async fn claim(store: &PostgresStore, host: ServerId) -> Vec<Claimed> {
    store.claim(&request(host, 100)).await.unwrap().tasks
}

async fn state(store: &PostgresStore, id: TaskId) -> TaskState {
    store.get(&[id]).await.unwrap()[0].as_ref().unwrap().state
}

async fn settle(store: &PostgresStore) {
    while store.settle().await.unwrap().more {}
}

async fn enqueue(client: &Client, call: &str) -> TaskId {
    TaskId(client.query_one(&format!("SELECT taskyard.enqueue({call})"), &[]).await.unwrap().get(0))
}

#[tokio::test]
async fn a_task_exists_only_if_its_transaction_commits() {
    let (store, url) = harness::fresh_with_address().await;
    let host = enter(&store).await;
    let mut client = client(&url).await;
    let transaction = client.transaction().await.unwrap();
    let kept = NewTask { payload: b"{\"args\":[1.0]}".to_vec(), priority: 3, ..of_kind("app::kept") };
    assert_eq!(enqueue_in(&transaction, &kept).await.unwrap(), kept.id);
    assert!(claim(&store, host).await.is_empty(), "not before the commit");
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    enqueue_in(&transaction, &of_kind("app::undone")).await.unwrap();
    transaction.rollback().await.unwrap();
    let claimed = claim(&store, host).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].id, claimed[0].payload.as_slice()), (kept.id, &b"{\"args\":[1.0]}"[..]));
}

#[tokio::test]
async fn every_option_of_the_sql_function_is_stored() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let id = enqueue(
        &client,
        r#"'app:send', '["a", 1]', '{"b": true}', queue => 'mail', priority => 7, delay => '10 s', max_retries => 5,
           timeout => '1 min', unique_key => 'k', runtime => 'python', name => 'Send', context => '{"x": 1}',
           on_parent_failure => 'run', expires => '1 h', tags => '{red,"green blue"}', auto_remove => true,
           at_most_once => true"#,
    )
    .await;
    let record = store.get(&[id]).await.unwrap().remove(0).unwrap();
    assert_eq!(record.payload, br#"{"args":["a", 1],"kwargs":{"b": true}}"#);
    assert_eq!((record.kind.as_str(), record.name.as_str(), record.queue.as_str()), ("app:send", "Send", "mail"));
    assert_eq!((record.priority, record.retry.max_retries, record.timeout_ms), (7, 5, Some(60_000)));
    assert_eq!((record.runtime, record.on_parent_failure), (Runtime::Python, OnParentFailure::Run));
    assert_eq!((record.state, record.wait_reason), (TaskState::Waiting, Some(WaitReason::Time)));
    assert_eq!(record.tags, ["red", "green blue"]);
    assert!(record.auto_remove && record.at_most_once && record.expires_at.is_some());
    assert_eq!(store.context(id).await.unwrap(), Some(br#"{"x": 1}"#.to_vec()));
    // The key is held: the same call returns the existing task.
    assert_eq!(enqueue(&client, "'app:send', unique_key => 'k'").await, id);
    let plain = enqueue(&client, "'app:plain'").await;
    let record = store.get(&[plain]).await.unwrap().remove(0).unwrap();
    assert_eq!((record.timeout_ms, record.retry.max_retries), (Some(300_000), 3));
    assert_eq!(record.id.0.get_version_num(), 7);
}

#[tokio::test]
async fn bad_calls_are_refused_with_a_sentence() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let deep = format!("'k', '{}1{}'", "[".repeat(70), "]".repeat(70));
    let large = format!("'k', '[\"{}\"]'", "x".repeat(1 << 20));
    for (call, why) in [
        ("''", "kind must not be empty"),
        ("E'a\\nb'", "control character"),
        ("'k', '{}'", "args must be a JSON array"),
        ("'k', '[]', '[]'", "kwargs must be a JSON object"),
        ("'k', context => '3'", "context must be a JSON object"),
        ("'k', runtime => 'java'", "it must be `rust` or `python`"),
        ("'k', on_parent_failure => 'x'", "it must be `fail`, `run` or `wait`"),
        ("'k', max_retries => -1", "negative"),
        ("repeat('k', 256)", "over the limit of 255"),
        (&deep, "deeper than 64"),
        (&large, "over the limit of 1048576"),
    ] {
        let error = client.query(&format!("SELECT taskyard.enqueue({call})"), &[]).await.unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(store.status().await.unwrap().by_state.iter().sum::<u64>(), 0);
    let mut twice = task();
    twice.id = enqueue(&client, "'k'").await;
    assert_eq!(enqueue_in(&client, &twice).await, Err(Error::DuplicateId(twice.id)));
}

/// A role or a database may set `standard_conforming_strings = off`, so that a backslash in a plain literal is an
/// escape.
#[tokio::test]
async fn how_a_session_reads_backslashes_decides_nothing() {
    let url = shared().create_database();
    let name = url.rsplit('/').next().unwrap();
    shared().psql(&format!("ALTER DATABASE {name} SET standard_conforming_strings = off"));
    let store = harness::open(&url).await;
    store.migrate().await.unwrap();
    store.add(&[task()]).await.unwrap();
    let client = client(&url).await;
    let brackets = "[".repeat(70);
    for arguments in ["[1, {}]".to_owned(), format!(r#"["{brackets}", "\\\\", "\\"{brackets}"]"#)] {
        let id = enqueue(&client, &format!("'k', E'{arguments}', delay => '1 h'")).await;
        assert_eq!(state(&store, id).await, TaskState::Waiting);
    }
    let deep = format!(r#"["\\"", {brackets}{}]"#, "]".repeat(70));
    for (call, why) in [
        (format!("'k', E'{deep}'"), "deeper than 64"),
        ("E'a\\x1fb'".into(), "control character"),
        ("E'a\\u009fb'".into(), "control character"),
    ] {
        let error = client.query(&format!("SELECT taskyard.enqueue({call})"), &[]).await.expect_err(&call);
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains(why), "{message}");
    }
    let least = "SELECT taskyard.uuid7_from('2026-01-01Z')::text";
    assert_eq!(shared().psql_in(&url, least), "019b76da-a800-0000-0000-000000000000");
}

#[tokio::test]
async fn a_trigger_enqueues() {
    let (store, url) = harness::fresh_with_address().await;
    let host = enter(&store).await;
    let client = client(&url).await;
    client
        .batch_execute(
            "CREATE TABLE orders (id int);
             CREATE FUNCTION order_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM taskyard.enqueue('app:confirm', json_build_array(NEW.id)); RETURN NEW;
             END $$;
             CREATE TRIGGER order_made AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_made();
             INSERT INTO orders SELECT generate_series(1, 3);",
        )
        .await
        .unwrap();
    let claimed = claim(&store, host).await;
    let payloads: Vec<&[u8]> = claimed.iter().map(|task| task.payload.as_slice()).collect();
    assert_eq!(
        payloads,
        [br#"{"args":[1],"kwargs":{}}"#, br#"{"args":[2],"kwargs":{}}"#, br#"{"args":[3],"kwargs":{}}"#]
    );
}

#[tokio::test]
async fn children_are_settled_after_the_commit() {
    let (store, url) = harness::fresh_with_address().await;
    let host = enter(&store).await;
    let mut client = client(&url).await;
    let parents = [task(), task(), task()];
    store.add(&parents).await.unwrap();
    let claimed = claim(&store, host).await;
    let end = |at: usize, outcome| Finish {
        id: claimed[at].id,
        token: claimed[at].token,
        outcome,
        context: None,
        logs: Vec::new(),
    };
    let transaction = client.transaction().await.unwrap();
    let children: Vec<NewTask> = parents.iter().map(|parent| child_of(&[parent.id])).collect();
    let clean_up = NewTask { on_parent_failure: OnParentFailure::Run, ..child_of(&[parents[1].id]) };
    let grandchild = child_of(&[children[0].id]);
    for new in children.iter().chain([&clean_up, &grandchild]) {
        enqueue_in(&transaction, new).await.unwrap();
    }
    // The parents end while the transaction is open: it holds no lock that blocks them.
    store
        .finish(&[end(0, Outcome::Done { result: b"1".to_vec() }), end(1, Outcome::Failed(failure("x")))], &[])
        .await
        .unwrap();
    settle(&store).await;
    transaction.commit().await.unwrap();
    assert_eq!(
        store.get(&[children[0].id]).await.unwrap()[0].as_ref().unwrap().wait_reason,
        Some(WaitReason::Unsettled)
    );
    assert!(claim(&store, host).await.is_empty());
    settle(&store).await;
    assert_eq!(state(&store, children[0].id).await, TaskState::Enqueued);
    assert_eq!(state(&store, children[1].id).await, TaskState::Failed);
    assert_eq!(state(&store, children[2].id).await, TaskState::Waiting);
    assert_eq!(state(&store, clean_up.id).await, TaskState::Enqueued);
    assert_eq!(state(&store, grandchild.id).await, TaskState::Waiting);
    store.finish(&[end(2, Outcome::Done { result: b"1".to_vec() })], &[]).await.unwrap();
    assert_eq!(state(&store, children[2].id).await, TaskState::Enqueued);
}

#[tokio::test]
async fn unknown_parents_and_cycles_across_transactions_fail_when_settled() {
    let (store, url) = harness::fresh_with_address().await;
    let (mut one, mut two) = (client(&url).await, client(&url).await);
    let (mut a, mut b) = (task(), task());
    a.parents = vec![b.id];
    b.parents = vec![a.id];
    let orphan = child_of(&[TaskId::generate()]);
    let below = child_of(&[a.id]);
    let (first, second) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
    enqueue_in(&first, &a).await.unwrap();
    enqueue_in(&second, &b).await.unwrap();
    enqueue_in(&first, &below).await.unwrap();
    enqueue_in(&first, &orphan).await.unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    settle(&store).await;
    let error = |id: TaskId| {
        let store = &store;
        async move {
            let record = store.get(&[id]).await.unwrap().remove(0).unwrap();
            (record.state, record.error.map(|error| error.error_type).unwrap_or_default())
        }
    };
    assert_eq!(error(orphan.id).await, (TaskState::Failed, "UnknownParent".into()));
    let (a, b) = (error(a.id).await, error(b.id).await);
    let types = [a.1.as_str(), b.1.as_str()];
    assert!(types.contains(&"ParentCycle") && types.contains(&"ParentTaskFailed"), "{types:?}");
    assert_eq!(error(below.id).await, (TaskState::Failed, "ParentTaskFailed".into()));
}

#[tokio::test]
async fn an_attempt_ends_with_the_callers_transaction_or_not_at_all() {
    let (store, url) = harness::fresh_with_address().await;
    let host = enter(&store).await;
    let mut client = client(&url).await;
    client.batch_execute("CREATE TABLE effect (task uuid)").await.unwrap();
    store.add(&[task(), task()]).await.unwrap();
    let claimed = claim(&store, host).await;
    let (kept, lost) = (&claimed[0], &claimed[1]);
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO effect VALUES ($1)", &[&kept.id.0]).await.unwrap();
    complete_in(&transaction, kept.id, kept.token, b"[1]").await.unwrap();
    assert_eq!(state(&store, kept.id).await, TaskState::Doing);
    transaction.commit().await.unwrap();
    let record = store.get(&[kept.id]).await.unwrap().remove(0).unwrap();
    assert_eq!((record.state, record.result.as_deref()), (TaskState::Done, Some(&b"[1]"[..])));

    // The lease is lost: the transaction's effect is rolled back with it.
    let end = Finish { id: lost.id, token: lost.token, outcome: Outcome::Released, context: None, logs: Vec::new() };
    store.finish(&[end], &[]).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO effect VALUES ($1)", &[&lost.id.0]).await.unwrap();
    let error = complete_in(&transaction, lost.id, lost.token, b"1").await.unwrap_err();
    assert_eq!(error, Error::LeaseLost(lost.id));
    transaction.rollback().await.unwrap();
    let error =
        client.query("SELECT taskyard.complete_in($1, $2, '{}')", &[&lost.id.0, &lost.token.0]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "TY001");
    let effects: i64 = client.query_one("SELECT count(*) FROM effect", &[]).await.unwrap().get(0);
    assert_eq!(effects, 1);
}

#[tokio::test]
async fn a_held_key_answers_inside_a_transaction_too() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let unique = |hold| NewTask { unique: Some(Unique { key: "k".into(), hold }), ..task() };
    let first = unique(UniqueHold::UntilFinished);
    assert_eq!(enqueue_in(&client, &first).await, Ok(first.id));
    assert_eq!(enqueue_in(&client, &unique(UniqueHold::UntilStarted)).await, Ok(first.id));
    store.cancel(&[first.id]).await.unwrap();
    let second = unique(UniqueHold::UntilStarted);
    assert_eq!(enqueue_in(&client, &second).await, Ok(second.id));
}

#[tokio::test]
async fn a_role_that_only_adds_can_only_add() {
    let (store, url) = harness::fresh_with_address().await;
    let admin = client(&url).await;
    let role = format!("producer_{}", Uuid::new_v4().simple());
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA taskyard TO {role};
             GRANT EXECUTE ON FUNCTION taskyard.enqueue TO {role};"
        ))
        .await
        .unwrap();
    let producer = client(&url.replace("postgres@", &format!("{role}@"))).await;
    let id = enqueue(&producer, "'app:x', '[1]'").await;
    assert_eq!(state(&store, id).await, TaskState::Enqueued);
    for statement in [
        "SELECT * FROM taskyard.task",
        "DELETE FROM taskyard.ready",
        "UPDATE taskyard.task SET state = 4",
        "SELECT taskyard.task_cancel('{}')",
        "SELECT taskyard.complete_in(gen_random_uuid(), gen_random_uuid())",
        "SELECT taskyard.clock_set(1, NULL)",
        "CREATE TABLE taskyard.mine (a int)",
        "TRUNCATE taskyard.task",
        "SELECT * FROM queued_tasks",
    ] {
        let error = producer.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
    // A role that only reads, with access to the views alone.
    admin.batch_execute(&format!("GRANT SELECT ON queued_tasks, queued_task_workers TO {role}")).await.unwrap();
    assert_eq!(producer.query("SELECT args::text, state FROM queued_tasks", &[]).await.unwrap().len(), 1);
    producer.query("SELECT is_running FROM queued_task_workers", &[]).await.unwrap();
    // A table of the caller with the name of one of the schema's must not be used instead.
    producer.batch_execute("CREATE TEMP TABLE task (LIKE pg_class); CREATE TEMP TABLE ready (a int)").await.unwrap();
    enqueue(&producer, "'app:x'").await;
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// A role that may only add learns only of its own tasks.
#[tokio::test]
async fn a_role_that_only_adds_learns_of_its_own_tasks_only() {
    let (store, url) = harness::fresh_with_address().await;
    let admin = client(&url).await;
    let mut roles = Vec::new();
    for _ in 0..2 {
        let role = format!("producer_{}", Uuid::new_v4().simple());
        admin
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA taskyard TO {role};
                 GRANT EXECUTE ON FUNCTION taskyard.enqueue TO {role};"
            ))
            .await
            .unwrap();
        roles.push((client(&url.replace("postgres@", &format!("{role}@"))).await, role));
    }
    let (one, two) = (&roles[0].0, &roles[1].0);
    let add = async |client: &Client, call: &str| -> Option<Uuid> {
        client.query_one(&format!("SELECT taskyard.enqueue({call})"), &[]).await.unwrap().get(0)
    };
    let refused = async |client: &Client, call: &str| {
        let error = client.batch_execute(&format!("SELECT taskyard.enqueue({call})")).await.expect_err(call);
        let error = error.as_db_error().unwrap();
        (error.code().code().to_owned(), error.message().to_owned())
    };
    // The holder of a unique key.
    let secret = add(&admin, "'app:x', unique_key => 'key'").await.unwrap();
    assert_eq!(add(one, "'app:x', unique_key => 'key'").await, None);
    let own = add(one, "'app:x', unique_key => 'own'").await.unwrap();
    assert_eq!(add(one, "'app:x', unique_key => 'own'").await, Some(own));
    assert_eq!(add(two, "'app:x', unique_key => 'own'").await, None);
    assert_eq!(add(&admin, "'app:x', unique_key => 'own'").await, Some(own), "the owner reads the table anyhow");
    // Parents, and with them results; a parent that does not exist is refused in the same words.
    for parent in [secret, Uuid::new_v4()] {
        let (code, message) = refused(one, &format!("'app:x', parents => ARRAY['{parent}'::uuid]")).await;
        assert_eq!((code.as_str(), message.contains(&parent.to_string())), ("42501", false), "{message}");
    }
    let (code, _) = refused(two, &format!("'app:x', parents => ARRAY['{own}'::uuid]")).await;
    assert_eq!(code, "42501");
    let child = add(one, &format!("'app:x', parents => ARRAY['{own}'::uuid]")).await.unwrap();
    // A result is inserted only for parents.
    let other = add(one, &format!("'app:x', args => '[{{\"$result\": \"{secret}\"}}]'")).await.unwrap();
    let records = store.get(&[TaskId(child), TaskId(other)]).await.unwrap();
    let parents: Vec<_> = records.iter().map(|record| record.as_ref().unwrap().parents.clone()).collect();
    assert_eq!(parents, [vec![TaskId(own)], vec![]]);
    // A role set by SET ROLE is treated alike.
    let mut session = client(&url).await;
    let transaction = session.transaction().await.unwrap();
    transaction.batch_execute(&format!("SET LOCAL ROLE {}", roles[1].1)).await.unwrap();
    let held: Option<Uuid> =
        transaction.query_one("SELECT taskyard.enqueue('app:x', unique_key => 'own')", &[]).await.unwrap().get(0);
    assert_eq!(held, None);
    transaction.rollback().await.unwrap();
    for (_, role) in &roles {
        admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    }
}

#[tokio::test]
async fn only_a_client_says_that_a_payload_is_encoded() {
    let (store, url) = harness::fresh_with_address().await;
    let host = enter(&store).await;
    let client = client(&url).await;
    let python = |encoded| NewTask {
        runtime: Runtime::Python,
        payload_encoded: encoded,
        context_encoded: encoded,
        context: Some(b"{}".to_vec()),
        ..of_kind("app:f")
    };
    for encoded in [false, true] {
        let task = python(encoded);
        enqueue_in(&client, &task).await.unwrap();
        let record = store.get(&[task.id]).await.unwrap().remove(0).unwrap();
        assert_eq!((record.payload_encoded, record.context_encoded), (encoded, encoded));
    }
    let sql = enqueue(&client, r#"'app:f', '[{"$path": "/"}]', runtime => 'python', context => '{"a": 1}'"#).await;
    let record = store.get(&[sql]).await.unwrap().remove(0).unwrap();
    assert_eq!((record.payload_encoded, record.context_encoded), (false, false));
    client
        .batch_execute("SELECT taskyard.schedule_add('s', '@every 1h', 'app:f', '[{}]', runtime => 'python')")
        .await
        .unwrap();
    let run = TaskId(client.query_one("SELECT taskyard.schedule_run_now('s')", &[]).await.unwrap().get(0));
    let record = store.get(&[run]).await.unwrap().remove(0).unwrap();
    assert_eq!((record.payload_encoded, record.context_encoded), (false, false));

    // A role that may only add is identified by its rows, whether it logs in itself or is set by SET ROLE.
    client
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE taskyard_test_adder; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT USAGE ON SCHEMA taskyard TO taskyard_test_adder;
             GRANT EXECUTE ON FUNCTION taskyard.enqueue TO taskyard_test_adder;
             SET ROLE taskyard_test_adder",
        )
        .await
        .unwrap();
    let restricted = enqueue(&client, "'app:f', runtime => 'python'").await;
    assert!(client.query("SELECT taskyard.enqueue_payload(NULL)", &[]).await.is_err());
    client.batch_execute("RESET ROLE").await.unwrap();
    let asked = taskyard_core::store::ClaimRequest { runtime: Runtime::Python, ..request(host, 100) };
    let claimed = store.claim(&asked).await.unwrap().tasks;
    assert_eq!(claimed.len(), 5);
    for task in &claimed {
        assert_eq!(task.restricted, task.id == restricted, "{}", task.id);
    }

    // JSON with which a body ends itself is plain, too; bytes are in its language's encoding.
    for (task, function, encoded) in
        [(&claimed[0], "complete_in($1, $2, '{}')", false), (&claimed[1], "complete_in_payload($1, $2, '{}')", true)]
    {
        let sql = format!("SELECT taskyard.{function}");
        client.query(&sql, &[&task.id.0, &task.token.0]).await.unwrap();
        assert_eq!(store.finals(&[task.id]).await.unwrap()[0].result_encoded, encoded);
    }
}

#[tokio::test]
async fn extra_options_reach_the_tasks_of_transactions_and_schedules() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let task = NewTask { extra: ExtraOptions::examples(), ..of_kind("app::f") };
    enqueue_in(&client, &task).await.unwrap();
    let schedule = NewSchedule::new("s", "@every 1h", task.clone());
    store.schedule_put(&schedule, OnConflict::Refuse).await.unwrap();
    let run = TaskId(client.query_one("SELECT taskyard.schedule_run_now('s')", &[]).await.unwrap().get(0));
    for record in store.get(&[task.id, run]).await.unwrap() {
        assert_eq!(record.unwrap().extra, task.extra);
    }
}
