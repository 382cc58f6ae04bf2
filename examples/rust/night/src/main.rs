//! `night serve` runs a server, `night go` adds a night's tasks; every command of `taskyard` is available as well.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use night_example::shop::Shop;
use night_example::{evening, report};
use taskyard::Taskyard;
use taskyard_cli::Commands;
use taskyard_cli::project_context::ProjectContext;

/// Longest time to wait for pending writes when the queue is closed.
const CLOSING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let end = match arguments.first().map(String::as_str) {
        Some("serve") => serve(&arguments[1..]),
        Some("go") if arguments.len() == 1 => go(),
        _ => commands().map(|commands| commands.main()),
    };
    end.unwrap_or_else(|error| {
        eprintln!("night: {error}");
        ExitCode::FAILURE
    })
}

/// Returns the commands, whose servers have the shop as a state.
fn commands() -> Result<Commands, Box<dyn Error>> {
    let shop = Shop::from_environment()?;
    Ok(Commands::new().configure(move |queue| {
        let alarmed = shop.clone();
        // Runs on a thread for hooks, once for each dead letter.
        queue.state(shop.clone()).on_death(move |dead| std::future::ready(alarmed.alarm(&dead)))
    }))
}

/// Declares the schedule of this version of the program, then runs `queue start`.
fn serve(further: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    Shop::from_environment()?.prepare()?;
    let database = with_queue(async |queue, database| {
        report::declare(&queue).await?;
        Ok(database)
    })?;
    // The database is passed on, so that the server uses the same one as the schedule.
    let start = ["night", "queue", "start", "--database", &database].map(str::to_owned);
    Ok(commands()?.run(start.into_iter().chain(further.iter().cloned())))
}

fn go() -> Result<ExitCode, Box<dyn Error>> {
    with_queue(async |queue, _| {
        let night = evening::begin(&queue).await?;
        println!("import {}", night.import.id());
        println!("summary {}", night.totals.then.id());
        for (customer, mail) in night.mails.iter().enumerate() {
            println!("mail-{customer} {}", mail.id());
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Opens the queue that the commands would open in this directory.
fn with_queue<T>(body: impl AsyncFnOnce(Taskyard, String) -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    let project = ProjectContext::find(None, Vec::new())?;
    project.prepare()?;
    let database = project.settings.database.clone().ok_or("no database is set")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let queue = Taskyard::with_settings(project.settings).await?;
        let answer = body(queue.clone(), database).await;
        queue.close(CLOSING).await?;
        answer
    })
}
