//! Runs commands, singly or as timed steps that are all run and then summarised in a line each.

use std::process::Command;
use std::time::{Duration, Instant};

/// Returns a command for the cargo that runs this program.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Returns the number of tests to run at once: two per processor, because they mostly wait.
pub fn side_by_side() -> String {
    (2 * std::thread::available_parallelism().map_or(1, usize::from)).to_string()
}

/// Runs a command.
///
/// # Errors
/// A message if it cannot be started or fails.
pub fn must(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(command))) }
}

/// Returns whether a command succeeds; its output is not shown.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let program = words[0].rsplit('/').next().unwrap_or_default();
    format!("{program} {}", words[1..].join(" "))
}

/// Steps that were run, each with its time and its error.
#[derive(Default)]
pub struct Steps(Vec<(String, Duration, Option<String>)>);

impl Steps {
    /// Runs a command as a step. After a failed step the next ones still run.
    pub fn command(&mut self, name: &str, command: &mut Command) {
        eprintln!("── {name}: {}", shown(command));
        self.check(name, || must(command));
    }

    /// Runs a function as a step.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<(), String>) {
        let started = Instant::now();
        let problem = check().err();
        if let Some(problem) = &problem {
            eprintln!("{problem}");
        }
        self.0.push((name.to_owned(), started.elapsed(), problem));
    }

    /// Prints a line for each step.
    ///
    /// # Errors
    /// The names of the steps that failed.
    pub fn finish(self) -> Result<(), String> {
        eprintln!();
        for (name, time, problem) in &self.0 {
            let result = if problem.is_none() { "ok" } else { "FAILED" };
            eprintln!("{name:<12} {result:<7} {:>7.1} s", time.as_secs_f64());
        }
        let failed: Vec<&str> =
            self.0.iter().filter(|(_, _, problem)| problem.is_some()).map(|(name, ..)| name.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}
