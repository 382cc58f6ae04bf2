//! Totals by region: one task per region, summed up by SQL, and one that gets all of their results.
//!
//! A region is a range of ids. The summary runs once, when every region is done; it is stored in the same transaction.

use std::ops::Range;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use taskyard::{Call, Client, Group, Result, State, TaskError, TaskRef, id_ranges, task};

use crate::shop::Shop;

/// The regions, in the order of their ids; each has as many.
pub const REGIONS: [&str; 4] = ["north", "east", "south", "west"];

/// What a region's items come to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Its name.
    pub region: String,
    /// Its items.
    pub items: i64,
    /// Their prices.
    pub cents: i64,
}

/// What all regions come to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Each region, in their order.
    pub regions: Vec<Total>,
    /// All items.
    pub items: i64,
    /// Their prices.
    pub cents: i64,
    /// The region that is worth most.
    pub largest: String,
}

/// Sums up the items with ids from `first` to before `past`.
#[task(queue = "reports")]
pub fn total(region: String, first: i64, past: i64, shop: State<Shop>) -> Result<Total, TaskError> {
    let sums = "select count(*), coalesce(sum(cents), 0) from item where id >= ?1 and id < ?2";
    let (items, cents) = shop.0.open()?.query_row(sums, params![first, past], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Total { region, items, cents })
}

/// Sums up the regions.
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

/// Adds the totals of these ids and their summary, to run when the import is done.
///
/// # Errors
/// As [`Client::add_fan_in`].
pub async fn add(queue: &Client, ids: Range<i64>, import: &TaskRef<i64>) -> Result<Group<Total, Summary>> {
    let size = u32::try_from((ids.end - ids.start).unsigned_abs().div_ceil(REGIONS.len() as u64)).unwrap_or(u32::MAX);
    let totals: Vec<Call<Total>> = REGIONS
        .iter()
        .zip(id_ranges(ids, size))
        .map(|(region, ids)| total((*region).to_owned(), ids.start, ids.end).parent(import))
        .collect();
    // The argument that is given here is replaced by the results when they are there.
    let summary = summary(Vec::new()).results_of("regions", &totals);
    queue.add_fan_in(totals, summary).await
}
