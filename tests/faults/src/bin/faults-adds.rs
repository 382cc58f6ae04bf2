//! Adds 20 tasks and ends: `faults-adds DATABASE END RUNTIME`.
//!
//! It prints `ready` once it is connected, waits for a line, adds, prints each id, and ends by `END`: `return` from
//! `main`, `drop` the queue and return, or `abort` after waiting for each addition. `RUNTIME` is `many` or `one`
//! thread.

use std::io::BufRead as _;
use std::process::ExitCode;

use taskyard::{Call, Taskyard};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, end, runtime] = arguments.as_slice() else {
        eprintln!("usage: faults-adds DATABASE return|drop|abort many|one");
        return Ok(ExitCode::from(2));
    };
    let mut builder = match runtime.as_str() {
        "one" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    // As `#[tokio::main]` does it: the runtime ends when `main` returns.
    builder.enable_all().build()?.block_on(add(database, end))?;
    Ok(ExitCode::SUCCESS)
}

async fn add(database: &str, end: &str) -> Result<(), Failure> {
    let queue = Taskyard::connect(database).await?;
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    for number in 0..20 {
        let call = Call::<u64>::new("app::never_runs", &(number,));
        let task = if end == "abort" { queue.add(call).await? } else { queue.add_later(call)? };
        println!("{}", task.id());
    }
    match end {
        "drop" => drop(queue),
        "abort" => std::process::abort(),
        _ => {}
    }
    Ok(())
}
