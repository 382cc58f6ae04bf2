//! `cargo dev deny`: checks licences, duplicates and sources of all dependencies, and advisories against them.
//!
//! The rules are in `deny.toml`; cargo-deny checks them. The database of advisories is on a separate host that cannot be reached
//! from every network. It is therefore checked last, and the command fails with a message if it cannot be fetched, so that an
//! unchecked dependency is never reported as checked.

use crate::machine;
use crate::step::{Steps, cargo};

/// Checks that need only the registry.
const LOCAL: [&str; 3] = ["licenses", "bans", "sources"];

/// `cargo dev deny [--no-advisories]`.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let advisories = match arguments {
        [] => true,
        [flag] if flag == "--no-advisories" => false,
        _ => return Err("usage: cargo dev deny [--no-advisories]".into()),
    };
    machine::check(&[machine::CARGO_DENY])?;
    let mut steps = Steps::default();
    for what in LOCAL {
        steps.command(what, &mut cargo(&["deny", "--locked", "--log-level", "error", "check", what]));
    }
    if advisories {
        steps.check("advisories", || {
            let fetched = cargo(&["deny", "--locked", "--log-level", "error", "fetch", "db"]).output();
            match fetched {
                Ok(output) if output.status.success() => crate::step::must(&mut cargo(&[
                    "deny",
                    "--locked",
                    "--log-level",
                    "error",
                    "check",
                    "--disable-fetch",
                    "advisories",
                ])),
                Ok(output) => Err(unreachable(&String::from_utf8_lossy(&output.stderr))),
                Err(error) => Err(unreachable(&error.to_string())),
            }
        });
    } else {
        eprintln!("advisories: NOT CHECKED (--no-advisories)");
    }
    steps.finish()
}

fn unreachable(why: &str) -> String {
    let why = why.lines().next().unwrap_or_default();
    format!(
        "advisories: NOT CHECKED: the database of advisories cannot be fetched from here ({why}). Run `cargo dev deny` where it \
         can be, or `cargo dev deny --no-advisories` for the other three"
    )
}
