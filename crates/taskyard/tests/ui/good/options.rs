//! Options: literals, constants and other expressions.

use std::time::Duration;

use taskyard::{TaskRecord, task};

use super::queue;

const QUEUE: &str = "mail";
const RETRIES: u32 = 2;
const KIND: &str = "mail.sent";
const OLD: &[&str] = &["mail.old", "mail.older"];

mod limits {
    use std::time::Duration;

    pub(super) const PRIORITY: i32 = 5;
    pub(super) const TIMEOUT: Duration = Duration::from_secs(90);
}

#[task(queue = QUEUE, max_retries = RETRIES + 1, priority = -limits::PRIORITY, timeout = limits::TIMEOUT, tag = QUEUE, tag = "x")]
async fn by_constants(to: String) -> String {
    to
}

#[task(kind = KIND, aliases = OLD, name = concat!("Send ", "a mail"), at_most_once, auto_remove)]
async fn named(to: String) -> String {
    to
}

#[task(kind = "mail.read", aliases = ["mail.seen", KIND_BEFORE], timeout = "250ms", queue = "mail",)]
fn listed() {}

const KIND_BEFORE: &str = "mail.looked";

/// Arguments with the names of options do not affect the options.
#[task(queue = QUEUE, priority = 1)]
async fn arguments_are_not_options(queue: String, priority: String) -> String {
    queue + &priority
}

/// The body sees constants of its module whose names the expansion might have used.
#[task]
async fn sees_its_module() -> usize {
    NAMES.len() + KIND.len()
}

const NAMES: [u8; 3] = [1, 2, 3];

async fn record_of<T>(call: taskyard::Call<T>) -> TaskRecord {
    let (queue, _directory) = queue().await;
    queue.add(call).await.unwrap().record().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn options_take_expressions() {
    let record = record_of(by_constants("ada".into())).await;
    assert_eq!((record.queue.as_str(), record.retry.max_retries, record.priority), ("mail", 3, -5));
    assert_eq!(record.timeout_ms, Some(u64::try_from(limits::TIMEOUT.as_millis()).unwrap()));
    assert_eq!(record.tags, ["mail", "x"]);
    let record = record_of(named("ada".into())).await;
    assert_eq!((record.kind.as_str(), record.name.as_str()), ("mail.sent", "Send a mail"));
    assert_eq!(
        record_of(listed()).await.timeout_ms,
        Some(u64::try_from(Duration::from_millis(250).as_millis()).unwrap())
    );
    let record = record_of(arguments_are_not_options("a".into(), "b".into())).await;
    assert_eq!((record.queue.as_str(), record.priority), ("mail", 1));
    assert_eq!(super::run(sees_its_module()).await.unwrap(), 3 + KIND.len());
    let (queue, _directory) = queue().await;
    for kind in ["mail.sent", "mail.old", "mail.older", "mail.read", "mail.seen", "mail.looked"] {
        assert!(queue.registry().get(kind).is_some(), "{kind}");
    }
}
