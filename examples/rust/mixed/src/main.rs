//! The Rust program of an application in two languages: every command of `taskyard`, with its own tasks.
//!
//! `mixed-example queue start` runs the tasks in Rust; the server of the Python program runs those in Python, on the same
//! database.

use taskyard::{Call, Runtime, TaskContext, TaskError, task};

/// Squares a number. Python processes add it by its kind, `mixed_example::square`.
#[task]
async fn square(number: i64) -> i64 {
    number * number
}

/// Adds a task in Python and waits for its result.
#[task]
async fn ask_python(context: TaskContext, kind: String, number: i64) -> Result<i64, TaskError> {
    let call = Call::<i64>::new(&kind, &(number,)).runtime(Runtime::Python);
    Ok(context.client().add(call).await?.wait().await?)
}

/// Adds up the results of its parents, which may be Python tasks.
#[task]
async fn sum_of_parents(context: TaskContext) -> Result<i64, TaskError> {
    let mut sum = 0;
    for parent in context.parent_results().await? {
        let text = String::from_utf8(parent.result.unwrap_or_default())?;
        sum += text.parse::<i64>()?;
    }
    Ok(sum)
}

fn main() -> std::process::ExitCode {
    taskyard_cli::main()
}
