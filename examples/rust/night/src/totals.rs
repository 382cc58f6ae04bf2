//! Totals by region: one task per region, which adds up its items by SQL, and a summary with all of their results.
//!
//! A region is a range of ids. The summary runs once, when every region is done; all are added in the same transaction.

use std::ops::Range;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use taskyard::{Call, Client, Group, Result, State, TaskError, TaskRef, id_ranges, task};

use crate::shop::Shop;

/// The regions in the order of their ids; all have the same number of ids.
pub const REGIONS: [&str; 4] = ["north", "east", "south", "west"];

/// The total of a region.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Name of the region.
    pub region: String,
    /// Number of items.
    pub items: i64,
    /// Sum of their prices in cents.
    pub cents: i64,
}

/// The total of all regions.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The regions in their order.
    pub regions: Vec<Total>,
    /// Number of items.
    pub items: i64,
    /// Sum of their prices in cents.
    pub cents: i64,
    /// The region with the highest total.
    pub largest: String,
}

/// Adds up the items with ids from `first` up to, but not including, `past`.
#[task(queue = "reports")]
pub fn total(region: String, first: i64, past: i64, shop: State<Shop>) -> Result<Total, TaskError> {
    let sums = "select count(*), coalesce(sum(cents), 0) from item where id >= ?1 and id < ?2";
    let (items, cents) = shop.0.open()?.query_row(sums, params![first, past], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Total { region, items, cents })
}

/// Adds up the regions.
#[task(queue = "reports")]
pub async fn summary(regions: Vec<Total>) -> Summary {
    let largest = regions.iter().max_by_key(|total| total.cents).map(|total| total.region.clone());
    Summary {
        items: regions.iter().map(|total| total.items).sum(),
        cents: regions.iter().map(|total| total.cents).sum(),
        largest: largest.unwrap_or_default(),
        regions,
    }
}

/// Adds the tasks for the totals of these ids and their summary, which run when the import is done.
///
/// # Errors
/// The errors of [`Client::add_fan_in`].
pub async fn add(queue: &Client, ids: Range<i64>, import: &TaskRef<i64>) -> Result<Group<Total, Summary>> {
    let size = u32::try_from((ids.end - ids.start).unsigned_abs().div_ceil(REGIONS.len() as u64)).unwrap_or(u32::MAX);
    let totals: Vec<Call<Total>> = REGIONS
        .iter()
        .zip(id_ranges(ids, size))
        .map(|(region, ids)| total((*region).to_owned(), ids.start, ids.end).parent(import))
        .collect();
    // The argument given here is replaced by the results.
    let summary = summary(Vec::new()).results_of("regions", &totals);
    queue.add_fan_in(totals, summary).await
}
