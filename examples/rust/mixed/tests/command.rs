//! Tests that the program has every command of `taskyard`. Its tasks are tested together with the Python program.

use std::process::Command;

#[test]
fn it_has_every_command() {
    let program = env!("CARGO_BIN_EXE_mixed-example");
    let shown = Command::new(program).arg("--help").output().expect("the program runs");
    let help = String::from_utf8_lossy(&shown.stdout);
    for command in ["queue", "task", "schedule", "dead", "db"] {
        assert!(help.contains(&format!("\n  {command}")), "{command}: {help}");
    }
}
