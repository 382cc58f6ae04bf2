//! The Rust half of an application in two languages: it has every command of `taskyard`, and its own tasks.
//!
//! `mixed-example queue start` runs these; the Python half's server runs its own, on the same database.

use taskyard::{Call, Runtime, TaskContext, TaskError, task};

/// What a Python process asks for by its kind, `mixed_example::square`.
#[task]
async fn square(number: i64) -> i64 {
    number * number
}

/// Asks the Python half and waits for its answer.
#[task]
async fn ask_python(context: TaskContext, kind: String, number: i64) -> Result<i64, TaskError> {
    let call = Call::<i64>::new(&kind, &(number,)).runtime(Runtime::Python);
    Ok(context.client().add(call).await?.wait().await?)
}

/// Runs below a Python task, and gives its result on.
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
