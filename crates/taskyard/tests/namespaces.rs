//! Two programs with the same functions on one database and queue, separated by their namespaces; on SQLite.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskyard::{Call, Schedule, Settings, State, TaskContext, TaskState, Taskyard, WaitReason, local, task};

/// The program whose server runs the task.
type Owner = &'static str;

#[task]
async fn report(owner: State<Owner>, x: u32) -> String {
    format!("{} {x}", owner.0)
}

/// The kind looks like one with a namespace, but is in the program's own.
#[task(kind = "mail/send")]
async fn send(owner: State<Owner>, context: TaskContext) -> String {
    format!("{} {}", owner.0, context.kind())
}

#[task]
async fn adds(owner: State<Owner>, context: TaskContext) -> Result<String, taskyard::Error> {
    let child = context.client().add(report(1)).await?.wait().await?;
    Ok(format!("{} {child}", owner.0))
}

#[task(max_retries = 0)]
async fn fails() -> Result<(), String> {
    Err("as it should".into())
}

async fn program(path: &str, owner: Owner, namespace: Option<&str>) -> Taskyard {
    let settings = Settings {
        database: Some(path.into()),
        namespace: namespace.map(|text| text.parse().unwrap()),
        max_workers: 2,
        ..Settings::default()
    };
    Taskyard::with_settings(settings).await.unwrap().state(owner)
}

async fn kind_of<T>(queue: &Taskyard, task: &taskyard::TaskRef<T>) -> String {
    queue.store().get(&[task.id()]).await.unwrap().pop().unwrap().unwrap().kind
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_of_the_same_functions_run_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db").display().to_string();
    let deaths = Arc::new(Mutex::new(Vec::new()));
    let (mut queues, mut servers) = (Vec::new(), Vec::new());
    for owner in ["shop", "bank"] {
        let told = Arc::clone(&deaths);
        let queue = program(&path, owner, Some(owner)).await.on_death(move |dead| {
            told.lock().unwrap().push(format!("{owner} {}", dead.kind));
            async { Ok::<(), std::io::Error>(()) }
        });
        servers.push(queue.serve().await.unwrap());
        queues.push(queue);
    }
    for (queue, owner) in queues.iter().zip(["shop", "bank"]) {
        let reports: Vec<_> = (0..20).map(report).collect();
        let reports = queue.add_tasks(reports).await.unwrap();
        for (x, task) in reports.iter().enumerate() {
            assert_eq!(task.wait().await.unwrap(), format!("{owner} {x}"));
        }
        assert_eq!(kind_of(queue, &reports[0]).await, format!("{owner}/namespaces::report"));
        let sent = queue.add(send()).await.unwrap();
        assert_eq!(sent.wait().await.unwrap(), format!("{owner} {owner}/mail/send"));
        assert_eq!(queue.add(adds()).await.unwrap().wait().await.unwrap(), format!("{owner} {owner} 1"));
        let seven = 7;
        let closure = queue.add(local!(|seven: u32| async move { seven })).await.unwrap();
        assert_eq!(closure.wait().await.unwrap(), 7);
        assert!(kind_of(queue, &closure).await.starts_with(&format!("{owner}/namespaces")));
        queue.add_schedule(Schedule::new(owner, "0 3 * * *", report(3))).await.unwrap();
        let run = queue.run_schedule(owner).await.unwrap();
        assert_eq!(queue.get::<String>(run).wait().await.unwrap(), format!("{owner} 3"));
        queue.add(fails()).await.unwrap().wait().await.unwrap_err();
    }
    let shop = &queues[0];
    // A kind given as text is the program's own unless it names another namespace.
    for (text, owner) in [("namespaces::report", "shop"), ("bank/namespaces::report", "bank")] {
        let task = shop.add(Call::<String>::new(text, &(4,))).await.unwrap();
        assert_eq!(task.wait().await.unwrap(), format!("{owner} 4"));
        assert_eq!(shop.kind_of(text), format!("{owner}/namespaces::report"));
    }
    assert_eq!(shop.run_inline(report(5)).await.unwrap(), "shop 5");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while deaths.lock().unwrap().len() < 2 && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut told = deaths.lock().unwrap().clone();
    told.sort();
    assert_eq!(told, ["bank bank/namespaces::fails", "shop shop/namespaces::fails"]);
    for server in servers {
        server.stop();
        server.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_without_a_namespace_waits_for_a_server_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db").display().to_string();
    let (plain, shop) = (program(&path, "plain", None).await, program(&path, "shop", Some("shop")).await);
    let old = plain.add(report(1)).await.unwrap();
    let server = shop.serve().await.unwrap();
    assert_eq!(shop.add(report(2)).await.unwrap().wait().await.unwrap(), "shop 2");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let parked = loop {
        let record = old.record().await.unwrap();
        if record.state == TaskState::Waiting || std::time::Instant::now() > until {
            break record;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(parked.wait_reason, Some(WaitReason::Parked));
    assert_eq!(parked.waiting_for.as_deref(), Some("kind `namespaces::report`"));
    let other = plain.serve().await.unwrap();
    assert_eq!(old.wait().await.unwrap(), "plain 1");
    let text = shop.add(Call::<String>::new("/namespaces::report", &(3,))).await.unwrap();
    assert_eq!(text.wait().await.unwrap(), "plain 3");
    for server in [server, other] {
        server.stop();
        server.wait().await;
    }
}
