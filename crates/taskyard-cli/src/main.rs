//! The `taskyard` program: the commands, with no tasks but those of the demo.

fn main() -> std::process::ExitCode {
    taskyard_cli::main()
}
