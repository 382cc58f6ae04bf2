//! `cargo dev deny`: licences, duplicates and sources of all dependencies, and advisories against them.
//!
//! The rules are in `deny.toml`; cargo-deny checks them. The advisories are a database on a host of their own that is not
//! reached from everywhere: they are the last step, and where they cannot be fetched that is said and is a failure, for an
//! answer that nobody looked up is none.

use crate::machine;
use crate::step::{Steps, cargo};

/// All that needs nothing but the registry.
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
