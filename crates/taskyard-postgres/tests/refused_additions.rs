//! Additions that only the database refuses, with the error of an unreachable, full or failing database: their callers
//! get the reason, and the others go on. A database that refuses all of them counts as unavailable.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use serde_json::Value;
use taskyard_core::Client;
use taskyard_core::client::{Call, ClientConfig, TaskRef};
use taskyard_core::store::{Store, TaskFilter};
use taskyard_testkit::postgres::shared;

mod harness;

/// Time limit for storing accepted additions; refused ones are reported within [`REFUSED`].
const SOON: Duration = Duration::from_secs(20);
const REFUSED: Duration = Duration::from_secs(20);

fn good(number: usize) -> Call<Value> {
    Call::new("good", &(number,))
}

fn bad() -> Call<Value> {
    Call::new("bad", &())
}

fn refuse(url: &str, code: &str, when: &str) {
    let sql = format!(
        "CREATE SEQUENCE IF NOT EXISTS public.tries;
         CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM nextval('public.tries');
             RAISE EXCEPTION 'not stored here' USING ERRCODE = '{code}';
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON taskyard.task FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION public.refuse()"
    );
    shared().psql_in(url, &sql);
}

async fn stored(tasks: &[TaskRef], within: Duration) {
    let all = async {
        for task in tasks {
            task.stored().await.unwrap();
        }
    };
    tokio::time::timeout(within, all).await.expect("stored in time");
}

async fn refused(task: &TaskRef) {
    let answer = tokio::time::timeout(REFUSED, task.stored()).await.expect("refused in time");
    let error = answer.unwrap_err();
    assert!(error.to_string().contains("not stored here"), "{error}");
    assert!(!error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_alone_fails_like_a_database_that_is_away_holds_up_no_other() {
    for code in ["08001", "53100", "25006", "57P01", "53300", "53200", "58030", "XX000"] {
        let (store, url) = harness::fresh_with_address().await;
        let client = Client::new(store.clone(), ClientConfig::default());
        refuse(&url, code, "new.kind = 'bad'");
        let root = client.add(good(0)).await.unwrap();
        // In one batch.
        let mut others: Vec<TaskRef> = (0..200).map(|number| client.add_later(good(number)).unwrap()).collect();
        let first = client.add_later(bad()).unwrap();
        let child = client.add_later(good(1).parent(&first)).unwrap();
        let keyed = client.add_later(bad().unique("k")).unwrap();
        others.extend((0..200).map(|number| client.add_later(good(number).parent(&root)).unwrap()));
        let flush = tokio::spawn({
            let client = client.clone();
            async move { client.flush().await }
        });
        stored(&others, SOON).await;
        // In addition to those that are tried separately.
        let more: Vec<TaskRef> = (0..5).map(|_| client.add_later(bad()).unwrap()).collect();
        for number in 0..20 {
            let began = Instant::now();
            client.add(good(number)).await.unwrap();
            assert!(began.elapsed() < SOON, "{code}: {:?}", began.elapsed());
        }
        for task in more.iter().chain([&first, &keyed]) {
            refused(task).await;
        }
        let orphan = tokio::time::timeout(REFUSED, child.stored()).await.expect("decided").unwrap_err();
        assert_eq!(orphan.code(), "unknown_parent");
        tokio::time::timeout(REFUSED, flush).await.expect("decided").unwrap().unwrap();
        // An awaited call returns the reason in time, too.
        let began = Instant::now();
        client.add(bad()).await.unwrap_err();
        assert!(began.elapsed() < REFUSED, "{code}: {:?}", began.elapsed());
        assert_eq!(store.count(&TaskFilter::default()).await.unwrap(), 1 + 400 + 20, "{code}");
        shared().psql_in(&url, "DROP TRIGGER refuse ON taskyard.task");
        client.add(bad().unique("k")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_all_is_away() {
    for code in ["53100", "XX000"] {
        let (store, url) = harness::fresh_with_address().await;
        let client = Client::new(store, ClientConfig::default());
        refuse(&url, code, "true");
        let first = client.add_later(good(0)).unwrap();
        // The addition is tried more often than one that is refused alone, and those behind it wait as well.
        let tries = "SELECT last_value > 14 FROM public.tries";
        let deadline = Instant::now() + 6 * REFUSED;
        while shared().psql_in(&url, tries) != "t" {
            assert!(Instant::now() < deadline, "it is tried again and again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut tasks: Vec<TaskRef> = (0..10).map(|number| client.add_later(good(number)).unwrap()).collect();
        tasks.push(first);
        shared().psql_in(&url, "DROP TRIGGER refuse ON taskyard.task");
        stored(&tasks, 2 * REFUSED).await;
    }
}
