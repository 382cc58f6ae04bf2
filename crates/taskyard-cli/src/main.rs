//! The `taskyard` program: the commands, with no tasks of an application.

fn main() -> std::process::ExitCode {
    taskyard_cli::main()
}
