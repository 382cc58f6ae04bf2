//! Prints the report: the whole object with `--json`, a short form otherwise.

use std::io::Write as _;

use serde::Deserialize;

use super::report::{Failed, Summary};
use crate::failure::Failure;
use crate::grid::Grid;
use crate::moment::{number, size};
use crate::out::Out;

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
        let mut grid = Grid::new([">", ""]);
        for (path, bytes) in &summary.largest {
            grid.row([size(*bytes), path.lossy()]);
        }
        out.grid(grid)?;
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
    let mut grid = Grid::new(["", ">"]);
    grid.row(["files", &number(summary.files)]);
    grid.row(["bytes", &format!("{} ({})", number(summary.bytes), size(summary.bytes))]);
    grid.row(["lines", &number(summary.lines)]);
    grid.row(["under gzip", &format!("{} ({})", number(summary.gzip_bytes), size(summary.gzip_bytes))]);
    grid.row(["failed", &number(summary.failed)]);
    grid.row(["skipped (pipes, sockets, devices)", &number(summary.skipped)]);
    grid.row(["links, not followed", &number(summary.links)]);
    let wasted = format!("{} groups, {} reclaimable", number(summary.duplicates), size(summary.duplicate_bytes));
    grid.row(["duplicates", &wasted]);
    out.grid(grid)
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
