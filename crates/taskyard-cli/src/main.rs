//! The `taskyard` program: all commands, without the tasks of an application.

fn main() -> std::process::ExitCode {
    taskyard_cli::main()
}
