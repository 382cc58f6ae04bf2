//! `cargo dev nemesis`: longer runs of `tests/faults/tests/nemesis` than those of `cargo dev test`.
//!
//! `--seeds N` runs N seeds, from `--seed FIRST` (default 1); `--tasks N` adds N tasks in each run, without a time limit;
//! `--only sqlite` or `postgresql` runs one store; `--release` uses the release profile.

use crate::step::{cargo, must};

const USAGE: &str =
    "usage: cargo dev nemesis [--seeds N] [--seed FIRST] [--tasks N] [--only sqlite|postgresql] [--release]";

pub fn run(arguments: &[String]) -> Result<(), String> {
    must(&mut command(arguments)?)
}

fn command(arguments: &[String]) -> Result<std::process::Command, String> {
    let mut command = cargo(&["test", "--package", "taskyard-faults", "--test", "nemesis"]);
    let mut only = "on_";
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let variable = match flag.as_str() {
            "--release" => {
                command.arg("--release");
                continue;
            }
            "--seeds" => "TASKYARD_SEEDS",
            "--seed" => "TASKYARD_SEED",
            "--tasks" => "TASKYARD_TASKS",
            "--only" => "",
            _ => return Err(USAGE.into()),
        };
        match (variable, rest.next().map(String::as_str)) {
            ("", Some("sqlite")) => only = "on_sqlite",
            ("", Some("postgresql")) => only = "on_postgresql",
            (name, Some(value)) if !name.is_empty() && value.parse::<u64>().is_ok() => {
                command.env(name, value);
            }
            _ => return Err(USAGE.into()),
        }
    }
    command.args([only, "--", "--nocapture", "--test-threads=1"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_checked() {
        let command = |words: &[&str]| super::command(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let long = command(&["--seeds", "3", "--tasks", "200000", "--only", "sqlite", "--release"]).unwrap();
        assert_eq!(long.get_envs().count(), 2);
        assert!(long.get_args().any(|word| word == "on_sqlite") && long.get_args().any(|word| word == "--release"));
        for bad in [&["--seeds"][..], &["--seeds", "x"], &["--only", "mysql"], &["5"]] {
            assert!(command(bad).is_err(), "{bad:?}");
        }
    }
}
