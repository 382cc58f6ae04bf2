//! Prints the next ten times of a schedule and its warnings, or the error in its text.
//!
//! `cargo run -p taskyard-cron --example next -- "0 9 * * MON-FRI" Europe/Berlin`

use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::{Options, Rule};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text, zone) = match arguments.as_slice() {
        [text] => (text, None),
        [text, zone] => (text, Some(zone.as_str())),
        _ => {
            eprintln!("usage: next SCHEDULE [ZONE]");
            return ExitCode::from(2);
        }
    };
    let options = Options { hash_seed: Some("example"), ..Options::default() };
    let cron = match Rule::parse_with(text, &options) {
        Ok(Rule::Cron(cron)) => cron,
        Ok(Rule::Every(interval)) => {
            println!("every {} seconds", interval.as_secs());
            return ExitCode::SUCCESS;
        }
        Ok(Rule::Reboot) => {
            println!("when the scheduler starts");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{}", error.diagram());
            return ExitCode::FAILURE;
        }
    };
    for warning in cron.warnings() {
        println!("warning: {warning}");
    }
    let name = zone.or(cron.zone_name()).unwrap_or("UTC");
    let zone = match TimeZone::get(name) {
        Ok(zone) => zone,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for time in cron.upcoming(Timestamp::now(), &zone).take(10) {
        println!("{}", time.to_zoned(zone.clone()));
    }
    ExitCode::SUCCESS
}
