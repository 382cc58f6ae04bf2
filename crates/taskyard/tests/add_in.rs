//! Adding a task, and ending an attempt, in the application's own transactions, with the common libraries.
#![cfg(feature = "sqlx")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use taskyard::{
    Call, CallerConnection, Error, OnParentFailure, RetryPolicy, State, TaskContext, TaskId, TaskRecord, TaskState,
    Taskyard, Timestamp, UniqueHold, task,
};
use taskyard_testkit::postgres::shared;

type Anything = Box<dyn std::error::Error + Send + Sync>;

#[task]
async fn greet(name: String) -> String {
    format!("hello {name}")
}

#[task]
async fn total(parts: Vec<String>) -> String {
    parts.join(", ")
}

/// Commits its effect and its end together.
#[task]
async fn pay(number: i64, pool: State<PgPool>, context: TaskContext) -> Result<String, Anything> {
    let mut transaction = pool.0.begin().await?;
    sqlx::query("INSERT INTO payment VALUES ($1)").bind(number).execute(&mut *transaction).await?;
    taskyard::postgres::complete_in(&mut transaction, context.id(), context.token(), br#""paid""#).await?;
    transaction.commit().await?;
    Ok("not what is stored".into())
}

/// Loses its lease before it ends.
#[task(max_retries = 0)]
async fn pay_late(pool: State<PgPool>, context: TaskContext) -> Result<String, Anything> {
    let mut transaction = pool.0.begin().await?;
    sqlx::query("INSERT INTO payment VALUES (0)").execute(&mut *transaction).await?;
    let stranger = "00000000-0000-4000-8000-000000000000".parse()?;
    let lost = taskyard::postgres::complete_in(&mut transaction, context.id(), stranger, b"null").await;
    assert_eq!(lost, Err(Error::LeaseLost(context.id())));
    Ok("rolled back".into())
}

async fn queue() -> (Taskyard, String) {
    let address = shared().create_database();
    // Two tasks take a pool, which only one test provides.
    (Taskyard::connect(&address).await.unwrap().skip_missing_state(), address)
}

async fn client(address: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(address, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns a pool of deadpool, whose connections dereference to tokio-postgres's.
fn deadpool(address: &str) -> deadpool_postgres::Pool {
    let manager = deadpool_postgres::Manager::new(address.parse().unwrap(), tokio_postgres::NoTls);
    deadpool_postgres::Pool::builder(manager).build().unwrap()
}

async fn exists(queue: &Taskyard, id: TaskId) -> bool {
    queue.get::<String>(id).record().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sqlx_a_task_exists_if_and_only_if_the_transaction_commits() {
    let (queue, address) = queue().await;
    let pool = PgPool::connect(&address).await.unwrap();
    sqlx::query("CREATE TABLE customer (name text)").execute(&pool).await.unwrap();
    let server = queue.serve().await.unwrap();

    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO customer VALUES ('ada')").execute(&mut *transaction).await.unwrap();
    let kept = queue.add_in(&mut transaction, greet("ada".into())).await.unwrap();
    assert!(!exists(&queue, kept.id()).await);
    assert_eq!(kept.wait().await, Err(Error::NotFound(kept.id())));
    transaction.commit().await.unwrap();
    assert_eq!(kept.wait().await.unwrap(), "hello ada");

    let mut transaction = pool.begin().await.unwrap();
    let undone = queue.add_in(&mut transaction, greet("eve".into())).await.unwrap();
    drop(transaction);
    // A pooled connection, and a single one: each statement is a transaction.
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(queue.add_in(&mut connection, greet("bob".into())).await.unwrap().wait().await.unwrap(), "hello bob");
    let mut connection = PgConnection::connect(&address).await.unwrap();
    assert_eq!(queue.add_in(&mut connection, greet("cyd".into())).await.unwrap().wait().await.unwrap(), "hello cyd");
    assert!(!exists(&queue, undone.id()).await);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokio_postgres_and_deadpool_as_well() {
    let (queue, address) = queue().await;
    let server = queue.serve().await.unwrap();
    let mut alone = client(&address).await;
    let pooled = deadpool(&address);
    let mut pooled = pooled.get().await.unwrap();

    let mut transaction = alone.transaction().await.unwrap();
    let first = queue.add_in(&mut transaction, greet("a".into())).await.unwrap();
    let second = queue.add_in(&transaction, greet("b".into())).await.unwrap();
    assert!(!exists(&queue, first.id()).await);
    transaction.commit().await.unwrap();
    let mut transaction = pooled.transaction().await.unwrap();
    let third = queue.add_in(&mut *transaction, greet("c".into())).await.unwrap();
    transaction.rollback().await.unwrap();
    let fourth = queue.add_in(&**pooled, greet("d".into())).await.unwrap();
    for (task, expected) in [(&first, "hello a"), (&second, "hello b"), (&fourth, "hello d")] {
        assert_eq!(task.wait().await.unwrap(), expected);
    }
    assert!(!exists(&queue, third.id()).await);
    server.shutdown().await;
}

/// For any other library: one statement, one text parameter, one row.
#[tokio::test(flavor = "multi_thread")]
async fn with_any_library_by_one_statement() {
    let (queue, address) = queue().await;
    let client = client(&address).await;
    let statement = queue.enqueue_statement(greet("any".into()).priority(4)).unwrap();
    let row = client.query_one(statement.sql(), &[&statement.parameter()]).await.unwrap();
    let id: TaskId = row.get::<_, String>(0).parse().unwrap();
    assert_eq!(id, statement.id());
    assert_eq!(queue.get::<String>(id).record().await.unwrap().priority, 4);
}

/// Returns the record without its id and its time, in which two records of one call differ.
fn comparable(record: TaskRecord) -> TaskRecord {
    let id = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    TaskRecord { id, created_at: Timestamp::UNIX_EPOCH, ..record }
}

fn within(found: Option<Timestamp>, expected: Option<Timestamp>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            found.duration_since(expected).abs() < Duration::from_secs(60).try_into().unwrap()
        }
        (None, None) => true,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_is_stored_as_by_any_other_addition() {
    let (queue, address) = queue().await;
    let mut connection = PgConnection::connect(&address).await.unwrap();
    let parent = queue.add(greet("parent".into())).await.unwrap();
    let at: Timestamp = "2099-12-31T23:59:59.123456Z".parse().unwrap();
    let policy = RetryPolicy {
        max_retries: 7,
        backoff_ms: 11,
        factor: 1.5,
        only: vec!["A \"quoted\" ☃".into()],
        ..RetryPolicy::default()
    };
    let calls: [&dyn Fn() -> Call<String>; 8] = [
        &|| greet("plain".into()),
        &|| {
            greet("quotes \" \\ \u{1} \0 ☃ 𝄞 $1 'x'".into())
                .name("a \"name\" ☃")
                .queue("other")
                .tag("one")
                .tag("tw\"o,{}")
        },
        &|| greet("late".into()).delay(Duration::from_micros(90_000_001)).expires(Duration::from_secs(3_600)),
        &|| greet("at".into()).run_at(at).priority(i32::MIN).timeout(Duration::ZERO),
        &|| greet("retries".into()).retry(policy.clone()).timeout(Duration::from_millis(1_500)),
        &|| {
            greet("once".into())
                .auto_remove()
                .at_most_once()
                .max_retries(0)
                .context(&serde_json::json!({"a": ["☃", 1.0]}))
        },
        &|| greet("child".into()).parent(&parent).on_parent_failure(OnParentFailure::Run).result_of("name", &parent),
        &|| total(vec![]).result_of("parts", &parent).parents([&parent]).on_parent_failure(OnParentFailure::Wait),
    ];
    for call in calls {
        let (usual, embedded) =
            (queue.add(call()).await.unwrap(), queue.add_in(&mut connection, call()).await.unwrap());
        let (usual, embedded) = (usual.record().await.unwrap(), embedded.record().await.unwrap());
        assert!(within(embedded.run_at, usual.run_at), "{:?} {:?}", embedded.run_at, usual.run_at);
        assert!(within(embedded.expires_at, usual.expires_at), "{:?} {:?}", embedded.expires_at, usual.expires_at);
        let (run_at, expires_at, waiting_for) = (usual.run_at, usual.expires_at, usual.waiting_for.clone());
        let embedded = TaskRecord { run_at, expires_at, waiting_for, wait_reason: usual.wait_reason, ..embedded };
        assert_eq!(comparable(embedded), comparable(usual));
    }
    for hold in [UniqueHold::UntilFinished, UniqueHold::UntilStarted, UniqueHold::For(Duration::from_secs(60))] {
        let key = format!("key \"{hold:?}\" ☃");
        let holder = queue.add_in(&mut connection, greet("first".into()).unique_for(&key, hold)).await.unwrap();
        let again = queue.add_in(&mut connection, greet("second".into()).unique_for(&key, hold)).await.unwrap();
        let usual = queue.add(greet("third".into()).unique_for(&key, hold)).await.unwrap();
        assert_eq!((again.id(), usual.stored().await.unwrap()), (holder.id(), holder.id()));
        assert_eq!((holder.existing(), again.existing()), (false, true));
        assert_eq!(holder.record().await.unwrap().unique_key, Some(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_may_be_of_the_same_transaction() {
    let (queue, address) = queue().await;
    let server = queue.serve().await.unwrap();
    let pool = PgPool::connect(&address).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let parent = queue.add_in(&mut transaction, greet("☃ 𝄞".into())).await.unwrap();
    let child = queue.add_in(&mut transaction, greet(String::new()).result_of("name", &parent)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(child.wait().await.unwrap(), "hello hello ☃ 𝄞");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_and_the_end_of_its_attempt_are_one() {
    let (queue, address) = queue().await;
    let pool = PgPool::connect(&address).await.unwrap();
    sqlx::query("CREATE TABLE payment (number bigint)").execute(&pool).await.unwrap();
    let queue = queue.state(pool.clone());
    let server = queue.serve().await.unwrap();
    assert_eq!(queue.add(pay(7)).await.unwrap().wait().await.unwrap(), "paid");
    assert_eq!(queue.add(pay_late()).await.unwrap().wait().await.unwrap(), "rolled back");
    let payments: Vec<i64> = sqlx::query_scalar("SELECT number FROM payment").fetch_all(&pool).await.unwrap();
    assert_eq!(payments, [7]);
    server.shutdown().await;
}

/// Returns the error of an addition on a connection.
async fn refusal(queue: &Taskyard, connection: impl CallerConnection, call: Call<String>) -> Error {
    queue.add_in(connection, call).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_added_says_why_by_every_library() {
    let (queue, address) = queue().await;
    let stored = queue.add(greet("stored".into())).await.unwrap();
    let again = || greet("again".into()).id(stored.id());
    let mut by_sqlx = PgConnection::connect(&address).await.unwrap();
    let mut by_tokio = client(&address).await;
    for error in [refusal(&queue, &mut by_sqlx, again()).await, refusal(&queue, &mut by_tokio, again()).await] {
        assert_eq!(error, Error::DuplicateId(stored.id()));
    }
    let own_parent = || greet("x".into()).id("01890000-0000-7000-8000-000000000000".parse().unwrap());
    let own_parent = || own_parent().parent_id("01890000-0000-7000-8000-000000000000".parse().unwrap());
    for error in [refusal(&queue, &mut by_sqlx, own_parent()).await, refusal(&queue, &mut by_tokio, own_parent()).await]
    {
        assert!(matches!(&error, Error::InvalidArgument { why, .. } if why.contains("own parent")), "{error}");
    }
    // Another database, where no server would run it.
    let elsewhere = shared().create_database();
    let mut by_sqlx = PgConnection::connect(&elsewhere).await.unwrap();
    let mut by_tokio = client(&elsewhere).await;
    for error in [
        refusal(&queue, &mut by_sqlx, greet("x".into())).await,
        refusal(&queue, &mut by_tokio, greet("x".into())).await,
    ] {
        assert!(matches!(&error, Error::Refused(why) if why.contains("not on the queue's database")), "{error}");
    }
    // A read-only transaction: a permanent error.
    let pool = PgPool::connect(&address).await.unwrap();
    let mut reading = pool.begin_with("BEGIN READ ONLY").await.unwrap();
    let error = refusal(&queue, &mut reading, greet("x".into())).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("read-only")), "{error}");
    drop((reading, pool));
    // A connection that was closed by the server.
    let mut gone = PgConnection::connect(&address).await.unwrap();
    shared().terminate_backends(address.rsplit('/').next().unwrap().split('?').next().unwrap());
    assert!(matches!(refusal(&queue, &mut gone, greet("x".into())).await, Error::Connection(_)));
    // An SQLite file has only one writer.
    let directory = tempfile::tempdir().unwrap();
    let file = Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await.unwrap();
    let error = refusal(&file, &by_tokio, greet("x".into())).await;
    assert!(matches!(&error, Error::Refused(why) if why.contains("SQLite")), "{error}");
    let error = refusal(&queue, &by_tokio, greet("x".repeat(2 << 20))).await;
    assert!(matches!(&error, Error::OverLimit { .. }), "{error}");
    assert_eq!(queue.get::<String>(stored.id()).record().await.unwrap().state, TaskState::Enqueued);
}
