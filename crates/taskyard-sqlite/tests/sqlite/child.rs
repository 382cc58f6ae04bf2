//! Other processes: this test program starts itself again, to run one named part.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use taskyard_core::Store;
use taskyard_sqlite::SqliteStore;

use crate::sandbox::{add, task};

const PART: &str = "TASKYARD_TEST_PART";
const FILE: &str = "TASKYARD_TEST_FILE";

fn command(program: &Path, part: &str, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(PART, part).env(FILE, file).args(["--exact", "child::part", "--ignored", "--nocapture"]);
    command
}

/// Starts a part in a process of its own; its output is read through the pipe.
pub fn spawn(part: &str, file: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    command(&program, part, file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a part as an unprivileged user and returns its output. `None` if this is not root or there is no `setpriv`:
/// permissions cannot be tested then.
pub fn as_unprivileged_user(part: &str, file: &Path) -> Option<String> {
    static COPIES: AtomicU32 = AtomicU32::new(0);
    if std::fs::metadata("/proc/self").map(|found| std::os::unix::fs::MetadataExt::uid(&found)).ok()? != 0 {
        return None;
    }
    // The build's directory may not be accessible to other users.
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let program = std::env::temp_dir().join(format!("taskyard-test-{}-{number}", std::process::id()));
    std::fs::copy(std::env::current_exe().ok()?, &program).ok()?;
    let inner = command(&program, part, file);
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(PART, part)
        .env(FILE, file)
        .output();
    let _ = std::fs::remove_file(&program);
    let output = output.ok()?;
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Not a test: the part that the other process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part that other tests start in a process of its own"]
async fn part() {
    let (Ok(part), Ok(file)) = (std::env::var(PART), std::env::var(FILE)) else { return };
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    // Before this process opens the file through a store.
    if part == "look" {
        crate::locks::look(Path::new(&file));
    }
    let store = match SqliteStore::open(&file).await {
        Ok(store) => store,
        Err(error) => return say(format!("code={} {error}", error.code())),
    };
    match part.as_str() {
        "migrate" => {
            let report = store.migrate().await;
            say(format!("applied={}", report.map_or(99, |report| report.applied.len())));
        }
        // Adds without end; every line is an addition that was acknowledged.
        "add" => {
            store.migrate().await.unwrap();
            loop {
                say(format!("added={}", add(&store, task()).await));
            }
        }
        // Adds from eight tasks at once until 100 additions were refused, for at most 30 s; each line contains the
        // start time and the result of one.
        "add_watched" => {
            store.migrate().await.unwrap();
            let started = Instant::now();
            let refused = std::sync::Arc::new(AtomicU32::new(0));
            let adders: Vec<_> = (0..8)
                .map(|_| {
                    let (store, refused) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&refused));
                    tokio::spawn(async move {
                        while refused.load(Ordering::Relaxed) < 100 && started.elapsed() < Duration::from_secs(30) {
                            let begun = crate::deleted_files::nanos();
                            match store.add(&[task()]).await {
                                Ok(added) => say(format!("begun={begun} added={}", added[0].id)),
                                Err(error) => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                    say(format!("begun={begun} refused={}", error.code()));
                                }
                            }
                        }
                    })
                })
                .collect();
            for adder in adders {
                adder.await.unwrap();
            }
            store.close().await;
        }
        "add_among_closes" => crate::locks::add_among_closes(&store, Path::new(&file), say).await,
        "fork_within_a_transaction" => {
            crate::locks::fork_within_a_transaction(&store, Path::new(&file), true, say).await
        }
        "fork_without_descriptors" => {
            crate::locks::fork_within_a_transaction(&store, Path::new(&file), false, say).await
        }
        // Adds now and then until an addition is refused, and prints its error code.
        "add_slowly" => loop {
            match store.add(&[task()]).await {
                Ok(added) => say(format!("added={}", added[0].id)),
                Err(error) => return say(format!("refused={}", error.code())),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        // Adds for some seconds, and prints how many additions were acknowledged and why the first was refused.
        "add_for_seconds" => {
            let started = Instant::now();
            let (mut added, mut refused) = (0, None);
            while started.elapsed() < Duration::from_secs(5) {
                match store.add(&[task()]).await {
                    Ok(_) => added += 1,
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            store.close().await;
            say(format!("added={added} refused={refused:?}"));
        }
        // Adds this many tasks, each awaited.
        "storm" => {
            let mut failed = 0;
            for _ in 0..1_000 {
                failed += u32::from(store.add(&[task()]).await.is_err());
            }
            say(format!("failed={failed}"));
        }
        // Rests for a second, and prints how many clock ticks that has cost.
        "rest" => {
            store.migrate().await.unwrap();
            add(&store, task()).await;
            store.status().await.unwrap();
            let before = ticks();
            tokio::time::sleep(Duration::from_secs(1)).await;
            say(format!("ticks={}", ticks() - before));
        }
        other => say(format!("opened {other}")),
    }
}

/// Returns the processor time that this process has used, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
