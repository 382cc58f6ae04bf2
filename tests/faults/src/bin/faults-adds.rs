//! Adds 20 tasks and ends: `faults-adds DATABASE END RUNTIME`.
//!
//! Prints `ready` once it is connected, waits for a line, adds, prints each id, and ends according to `END`: `return`
//! from `main`, `drop` the queue and return, or the name of a call (`add`, `tasks`, `group`, `fan-in`, `chain`): the
//! process aborts as soon as that call has returned. `RUNTIME` is `many` or `one` thread.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use taskyard::{Call, Taskyard};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, end, runtime] = arguments.as_slice() else {
        eprintln!("usage: faults-adds DATABASE return|drop|CALL many|one");
        return Ok(ExitCode::from(2));
    };
    let mut builder = match runtime.as_str() {
        "one" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    // Like `#[tokio::main]`: the runtime ends when `main` returns.
    builder.enable_all().build()?.block_on(add(database, end))?;
    Ok(ExitCode::SUCCESS)
}

async fn add(database: &str, end: &str) -> Result<(), Failure> {
    let queue = Taskyard::connect(database).await?;
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    let calls = |count: u32| (0..count).map(|number| Call::<u64>::new("app::never_runs", &(number,)));
    let mut added = Vec::with_capacity(20);
    match end {
        "add" => {
            for call in calls(20) {
                added.push(queue.add(call).await?);
            }
        }
        "tasks" => added = queue.add_tasks(calls(20)).await?,
        "chain" => added = queue.add_chain(calls(20)).await?,
        "group" | "fan-in" => {
            let then = Call::<u64>::new("app::never_runs", &(19,));
            let group = match end {
                "group" => queue.add_group(calls(19), then).await?,
                _ => queue.add_fan_in(calls(19), then).await?,
            };
            added = group.tasks;
            added.push(group.then);
        }
        _ => {
            for call in calls(20) {
                added.push(queue.add_later(call)?);
            }
        }
    }
    // One write, so that as little time as possible passes before the process ends.
    let ids: String = added.iter().map(|task| format!("{}\n", task.id())).collect();
    std::io::stdout().write_all(ids.as_bytes())?;
    match end {
        "return" => {}
        "drop" => drop(queue),
        _ => std::process::abort(),
    }
    Ok(())
}
