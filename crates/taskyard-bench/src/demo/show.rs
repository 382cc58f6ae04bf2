//! Prints the report: the whole object with `--json`, a short form otherwise.

use std::io::Write as _;

use serde::Deserialize;
use taskyard_terminal::humanize::{number, size};
use taskyard_terminal::{Failure, Out, Table};

use super::report::{Failed, Summary};

/// Number of groups of duplicates, and of failures, in the short form.
const SHOWN: usize = 10;

/// The lists of the report that the short form shows.
#[derive(Deserialize)]
struct Lists {
    duplicates: Vec<Vec<String>>,
    failures: Vec<Failed>,
}

pub(super) fn print(out: Out, summary: &Summary, report: &str) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(std::io::stdout().lock().write_all(report.as_bytes())?);
    }
    let lists: Lists =
        serde_json::from_str(report).map_err(|error| Failure::work(format!("the report cannot be read: {error}")))?;
    totals(out, summary)?;
    if !summary.largest.is_empty() {
        out.line("\u{2014} largest \u{2014}")?;
        let mut table = Table::new([">", ""]);
        for (path, bytes) in &summary.largest {
            table.row([size(*bytes), path.lossy()]);
        }
        out.table(table)?;
    }
    if !lists.duplicates.is_empty() {
        out.line("\u{2014} duplicates \u{2014}")?;
        for group in lists.duplicates.iter().take(SHOWN) {
            out.line(format_args!(" {}", names(group)))?;
        }
        more(out, lists.duplicates.len(), "groups")?;
    }
    if !lists.failures.is_empty() {
        out.line("\u{2014} failures \u{2014}")?;
        for failed in lists.failures.iter().take(SHOWN) {
            out.line(format_args!(" {}: {}", failed.path, failed.error))?;
        }
        more(out, lists.failures.len(), "failures")?;
    }
    out.line(format_args!("the whole report: {}", summary.report.lossy()))
}

fn totals(out: Out, summary: &Summary) -> Result<(), Failure> {
    let mut table = Table::new(["", ">"]);
    table.row(["files", &number(summary.files)]);
    table.row(["bytes", &format!("{} ({})", number(summary.bytes), size(summary.bytes))]);
    table.row(["lines", &number(summary.lines)]);
    table.row(["under gzip", &format!("{} ({})", number(summary.gzip_bytes), size(summary.gzip_bytes))]);
    table.row(["failed", &number(summary.failed)]);
    table.row(["skipped (pipes, sockets, devices)", &number(summary.skipped)]);
    table.row(["links, not followed", &number(summary.links)]);
    let wasted = format!("{} groups, {} reclaimable", number(summary.duplicates), size(summary.duplicate_bytes));
    table.row(["duplicates", &wasted]);
    out.table(table)
}

fn names(group: &[String]) -> String {
    let shown = group.iter().take(4).map(String::as_str).collect::<Vec<_>>().join("  =  ");
    match group.len() {
        0..=4 => shown,
        all => format!("{shown}  =  … ({} more)", number((all - 4) as u64)),
    }
}

fn more(out: Out, all: usize, what: &str) -> Result<(), Failure> {
    if all > SHOWN { out.line(format_args!(" … and {} more {what}", number((all - SHOWN) as u64))) } else { Ok(()) }
}
