//! Tasks with a state that was not provided: a server refuses to start, or leaves them to other servers; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;

use taskyard::{Error, State, TaskState, Taskyard, task};

#[derive(Clone)]
struct Pool(u32);

#[derive(Clone)]
struct Mailer;

taskyard::task_set!(REPAIRS);

#[task(queue = "orders")]
async fn bill(State(pool): State<Pool>, _: State<Mailer>, order: u32) -> u32 {
    pool.0 + order
}

#[task]
fn stock(State(pool): State<Pool>) -> u32 {
    pool.0
}

#[task]
async fn greet() -> String {
    "hello".into()
}

#[task(set = REPAIRS)]
async fn repair(lines: State<Vec<String>>) -> usize {
    lines.0.len()
}

async fn open(directory: &Path) -> Taskyard {
    Taskyard::connect(directory.join("queue.db").to_str().unwrap()).await.unwrap()
}

fn why(error: &Error) -> String {
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_names_all_that_is_missing_and_never_enters() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path()).await;
    let said = why(&queue.serve().await.unwrap_err());
    assert!(said.contains("State<missing_state::Mailer> (`missing_state::bill`)"), "{said}");
    assert!(said.contains("State<missing_state::Pool> (`missing_state::bill`, `missing_state::stock`)"), "{said}");
    assert!(said.contains(".state(value)") && said.contains(".skip_missing_state()"), "{said}");
    assert!(!said.contains("repair"), "a set that is not served does not count: {said}");
    assert!(queue.store().servers().await.unwrap().is_empty(), "it never entered");

    // Any task may be added to any queue, so a server of other queues is refused as well.
    let others = taskyard::ServerConfig { queues: Some(vec!["others".into()]), ..queue.server_config() };
    why(&queue.serve_with(others).await.unwrap_err());

    let queue = queue.state(Pool(1));
    let said = why(&queue.serve().await.unwrap_err());
    assert!(said.contains("Mailer") && !said.contains("Pool"), "{said}");
    let queue = queue.state(Mailer);
    let server = queue.serve().await.unwrap();
    assert_eq!(queue.add(bill(2)).await.unwrap().wait().await.unwrap(), 3);
    server.shutdown().await;

    let said = why(&queue.clone().task_set(&REPAIRS).serve().await.unwrap_err());
    assert!(said.contains("State<alloc::vec::Vec<alloc::string::String>> (`missing_state::repair`)"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_leave_them_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let web = open(directory.path()).await.state(Pool(1)).skip_missing_state();
    let web_server = web.serve().await.unwrap();
    let (bill, stock, greet) =
        (web.add(bill(2)).await.unwrap(), web.add(stock()).await.unwrap(), web.add(greet()).await.unwrap());
    assert_eq!((stock.wait().await.unwrap(), greet.wait().await.unwrap()), (1, "hello".to_owned()));
    // The first server parks it until there is a server that supports it.
    assert_eq!(web.drain().await.unwrap(), 0);
    assert!(!bill.state().await.unwrap().is_final());

    let machine = open(directory.path()).await.state(Pool(10)).state(Mailer);
    let machine_server = machine.serve().await.unwrap();
    assert_eq!(bill.wait().await.unwrap(), 12);
    machine_server.shutdown().await;
    web_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_what_it_cannot_run_and_leaves_it() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path()).await;
    let greeting = queue.add(greet()).await.unwrap();
    assert_eq!(queue.drain().await.unwrap(), 1, "what is not runnable is not missed");
    assert_eq!(greeting.wait().await.unwrap(), "hello");

    let (bill, greeting) = (queue.add(bill(2)).await.unwrap(), queue.add(greet()).await.unwrap());
    let said = why(&queue.drain().await.unwrap_err());
    assert!(said.contains("Mailer") && said.contains("Pool") && !said.contains("stock"), "{said}");
    assert_eq!(bill.state().await.unwrap(), TaskState::Enqueued);
    assert_eq!(greeting.wait().await.unwrap(), "hello");

    let queue = queue.state(Pool(1)).state(Mailer);
    assert_eq!(queue.drain().await.unwrap(), 1);
    assert_eq!(bill.wait().await.unwrap(), 3);
}
