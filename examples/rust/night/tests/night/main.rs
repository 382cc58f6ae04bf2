//! Tests a night of the shop with real server processes, of which one is killed, over real SMTP, on both databases.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod sandbox;
mod smtp;

use std::collections::BTreeMap;
use std::time::Duration;

use night_example::evening::CUSTOMERS;
use night_example::import::{self, RANGE, ROWS};
use night_example::report;
use night_example::totals::{REGIONS, Summary, Total};
use sandbox::{BOUND, Sandbox, until};
use serde_json::Value;
use taskyard::store::TestClock;
use taskyard::{RunOutcome, TaskId, TaskRef, TaskState, Timestamp, id_ranges};
use taskyard_testkit::backend::Backend;

/// Ten in the evening in Berlin, before the night in which the clocks go forward, so that three o'clock is four hours away.
const EVENING: &str = "2026-03-28T21:00:00Z";
const THREE: &str = "2026-03-29T01:00:00Z";
const NEXT_THREE: &str = "2026-03-30T01:00:00Z";

/// A mailbox that does not exist until the test creates it.
const NOBODY: &str = "customer-7@example.org";
/// A mailbox that is busy at the first two attempts.
const BUSY: &str = "customer-11@example.org";

async fn set_clock(sandbox: &Sandbox, to: &str) {
    let to: Timestamp = to.parse().unwrap();
    let offset = TestClock::Offset(to.as_microsecond() - Timestamp::now().as_microsecond());
    sandbox.queue.store().set_clock(offset).await.unwrap();
}

/// Returns the ranges that an attempt imported, in their order.
fn ranges(sandbox: &Sandbox, attempt: u32) -> Vec<(i64, i64)> {
    let shop = sandbox.shop();
    let sql = "select first, past from import_range where attempt = ?1 order by rowid";
    let mut statement = shop.prepare(sql).unwrap();
    let rows = statement.query_map([attempt], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn ranges_of(from: i64, to: i64) -> Vec<(i64, i64)> {
    id_ranges(from..to, RANGE).map(|range| (range.start, range.end)).collect()
}

/// Returns the number of mails that each recipient received.
fn delivered(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for mail in sandbox.post.accepted() {
        *counts.entry(mail.to).or_default() += 1;
    }
    counts
}

fn once_each(except: &[&str]) -> BTreeMap<String, usize> {
    let all = (0..CUSTOMERS).map(|customer| format!("customer-{customer}@example.org"));
    all.filter(|address| !except.contains(&address.as_str())).map(|address| (address, 1)).collect()
}

/// The tasks that `night go` prints.
struct Tasks {
    import: TaskRef<i64>,
    summary: TaskRef<Summary>,
    mails: BTreeMap<String, TaskRef<String>>,
}

fn go(sandbox: &Sandbox) -> Tasks {
    let printed = sandbox.ok(&["go"]);
    let mut ids: BTreeMap<&str, TaskId> =
        printed.lines().filter_map(|line| line.split_once(' ')).map(|(name, id)| (name, id.parse().unwrap())).collect();
    let import = sandbox.queue.get(ids.remove("import").unwrap());
    let summary = sandbox.queue.get(ids.remove("summary").unwrap());
    let mail = |(name, id): (&str, TaskId)| (name.replace("mail", "customer") + "@example.org", sandbox.queue.get(id));
    Tasks { import, summary, mails: ids.into_iter().map(mail).collect() }
}

/// Kills the importing server with `kill -9`; returns the stored position of the import.
async fn dies_in_the_middle(sandbox: &Sandbox, import: &TaskRef<i64>, importer: sandbox::Running) -> i64 {
    until("a third is imported", async || ranges(sandbox, 1).len() >= 30).await;
    importer.kill();
    // The other server rescues the task but does not run imports, so no process writes to the task from here on.
    until("the import is given back", async || import.state().await.unwrap() == TaskState::Enqueued).await;
    let position = import.context().await.unwrap()["cursors"]["rows"].as_i64().unwrap();
    let done = ranges(sandbox, 1);
    let past = i64::try_from(done.len()).unwrap() * i64::from(RANGE);
    assert_eq!(done, ranges_of(0, past));
    assert!(past < ROWS, "it was to die in the middle");
    // At most the last range is in the shop's database without being recorded in the queue.
    assert!(position == past || position == past - i64::from(RANGE), "{position}, {past}");
    assert_eq!(sandbox.number("select count(*) from item"), past);
    let progress = import.progress().await.unwrap().unwrap();
    assert_eq!(progress.total, Some(ROWS as f64));
    assert!((1.0..=past as f64).contains(&progress.completed.unwrap()), "{progress:?}");
    position
}

async fn goes_on_where_it_was(sandbox: &Sandbox, import: &TaskRef<i64>, position: i64) {
    assert_eq!(import.wait_timeout(BOUND).await.unwrap(), ROWS);
    assert_eq!(ranges(sandbox, 2), ranges_of(position, ROWS));
    assert_eq!(sandbox.number("select count(*) from item"), ROWS);
    assert_eq!(sandbox.number("select count(distinct attempt) from import_range"), 2);
    assert_eq!(sandbox.number("select sum(inserted) from import_range"), ROWS, "no row was inserted twice");
    assert_eq!(import.progress().await.unwrap().unwrap().percentage, Some(100.0));
    assert_eq!(import.attempts().await.unwrap().len(), 2);
}

fn expected_summary() -> Summary {
    let quarter = ROWS / REGIONS.len() as i64;
    let total = |(region, first): (&&str, i64)| Total {
        region: (*region).to_owned(),
        items: quarter,
        cents: (first..first + quarter).map(import::cents).sum(),
    };
    let regions: Vec<Total> = REGIONS.iter().zip((0..).step_by(quarter as usize)).map(total).collect();
    let largest = regions.iter().max_by_key(|total| total.cents).unwrap().region.clone();
    Summary { items: ROWS, cents: (0..ROWS).map(import::cents).sum(), largest, regions }
}

async fn mails_arrive(sandbox: &Sandbox, mails: &BTreeMap<String, TaskRef<String>>) {
    assert_eq!(mails.len(), CUSTOMERS as usize);
    for (to, mail) in mails {
        let outcome = tokio::time::timeout(BOUND, mail.outcome()).await.unwrap().unwrap();
        assert_eq!(outcome.state, if to == NOBODY { TaskState::Failed } else { TaskState::Done }, "{to}");
        let attempts = mail.attempts().await.unwrap().len();
        assert_eq!(attempts, if to == BUSY { 3 } else { 1 }, "{to}");
    }
    assert_eq!(delivered(sandbox), once_each(&[NOBODY]));
    assert_eq!((sandbox.post.refused(BUSY), sandbox.post.refused(NOBODY)), (2, 1));
    let delays = mails[BUSY].attempts().await.unwrap();
    let why = delays[1].error.as_ref().unwrap();
    assert!(why.error_type == "MailDelayed" && why.message.contains("451"), "{why:?}");
    // Each mail has the Message-ID that its task returned, by which a duplicate could be detected.
    for mail in sandbox.post.accepted() {
        let id = mails[&mail.to].wait().await.unwrap();
        assert!(mail.text.contains(&id) && mail.text.contains("your order is ready"), "{mail:?}");
    }
}

async fn the_dead_letter_is_retried(sandbox: &Sandbox, mail: &TaskRef<String>) {
    let dead = sandbox.json(&["dead", "list"]);
    assert_eq!(dead.as_array().unwrap().len(), 1, "{dead}");
    assert_eq!(dead[0]["id"], Value::String(mail.id().to_string()));
    let why = mail.record().await.unwrap().error.unwrap();
    assert_eq!(why.error_type, "MailRefused");
    assert!(why.message.contains("550") && why.message.contains("no such mailbox"), "{why:?}");
    // The hook has recorded an alarm, once.
    until("the alarm", async || sandbox.number("select count(*) from alarm") > 0).await;
    assert_eq!(sandbox.number("select count(*) from alarm"), 1);
    sandbox.post.accept(NOBODY);
    assert_eq!(sandbox.json(&["dead", "retry", "--kind", "night_example::mail::send"])["retried"], 1);
    mail.wait_timeout(BOUND).await.unwrap();
    assert_eq!(delivered(sandbox), once_each(&[]));
}

/// Returns the report's times, the newest first, with their outcomes.
async fn report_runs(sandbox: &Sandbox) -> Vec<(Timestamp, RunOutcome)> {
    let runs = sandbox.queue.schedule_runs(report::NAME, 100).await.unwrap();
    runs.into_iter().map(|run| (run.fire_at, run.outcome)).collect()
}

async fn the_report_comes_at_three(sandbox: &Sandbox) {
    let schedule = sandbox.queue.schedule(report::NAME).await.unwrap();
    assert_eq!(schedule.next_at, Some(THREE.parse().unwrap()));
    assert_eq!(report_runs(sandbox).await, []);
    set_clock(sandbox, THREE).await;
    until("the report is written", async || sandbox.number("select count(*) from report") > 0).await;
}

/// Two servers and a client have declared the report, and another server declares it after it ran.
async fn there_is_one_report(sandbox: &Sandbox) {
    assert_eq!(report_runs(sandbox).await, [(THREE.parse().unwrap(), RunOutcome::Enqueued)]);
    let schedule = sandbox.queue.schedule(report::NAME).await.unwrap();
    assert_eq!(schedule.next_at, Some(NEXT_THREE.parse().unwrap()));
    assert_eq!(sandbox.number("select count(*) from report"), 1);
    assert_eq!(sandbox.number("select items from report"), ROWS);
    assert_eq!(sandbox.number("select cents from report"), expected_summary().cents);
}

async fn a_night(backend: Backend) {
    let sandbox = Sandbox::new(backend.create_database()).await;
    set_clock(&sandbox, EVENING).await;
    sandbox.post.refuse(NOBODY, "550 5.1.1 no such mailbox", u32::MAX);
    sandbox.post.refuse(BUSY, "451 4.7.1 busy, try again later", 2);

    // One server imports, slowly enough to be killed in the middle; the other runs everything else.
    let importer = sandbox.serve("import", Duration::from_millis(20));
    let other = sandbox.serve("mail,reports", Duration::ZERO);
    let tasks = go(&sandbox);
    let position = dies_in_the_middle(&sandbox, &tasks.import, importer).await;
    mails_arrive(&sandbox, &tasks.mails).await;
    // Now the import waits for a server, four totals and the summary wait for the import, and one mail is a dead letter.
    let done = u64::from(CUSTOMERS) - 1;
    assert_eq!(sandbox.agreed_counts().await, [5, 1, 0, 0, done, 1, 0]);

    let importer = sandbox.serve("import", Duration::ZERO);
    goes_on_where_it_was(&sandbox, &tasks.import, position).await;
    assert_eq!(tasks.summary.wait_timeout(BOUND).await.unwrap(), expected_summary());
    assert_eq!(tasks.summary.attempts().await.unwrap().len(), 1);
    the_dead_letter_is_retried(&sandbox, &tasks.mails[NOBODY]).await;
    the_report_comes_at_three(&sandbox).await;

    assert!(importer.stop().await.success());
    assert!(other.stop().await.success());
    let all = sandbox.serve("", Duration::ZERO);
    // Import, mails, four totals, their summary, the report.
    until("all is done", async || sandbox.queue.store().status().await.unwrap().by_state[4] == done + 8).await;
    assert_eq!(sandbox.agreed_counts().await, [0, 0, 0, 0, done + 8, 0, 0]);
    there_is_one_report(&sandbox).await;
    assert!(all.stop().await.success());
    println!("killed at row {position}; {} mails, {} tasks done", sandbox.post.accepted().len(), done + 8);
}

taskyard_testkit::on_both_stores! { a_night }
