//! The tasks and claims that a server holds according to the database.

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::ClaimsHeld;
use taskyard_core::{ClaimId, ServerId};

use super::claim::orders_of;
use crate::codec::{bits, bytes, id};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Number of claim rows read at once.
const PAGE: usize = 200;

/// Returns the tasks running under these claims of a server, and those claims of the server that are in the next page
/// of all claims.
pub(crate) fn held(
    read: &Read<'_>,
    server: ServerId,
    claims: &[ClaimId],
    after: Option<ClaimId>,
) -> Outcome<ClaimsHeld> {
    let server = server.0.into_bytes();
    let mut seen = ClaimsHeld::default();
    let mut get = read.sql(sql!("claim/get"))?;
    let mut holder = read.sql(sql!("task/held"))?;
    for claim in claims {
        let found = get.query_row([claim.0.into_bytes()], |row| Ok((bits(row, 0), bytes(row, 1)))).optional()?;
        let Some((Some(of), Some(orders))) = found else { continue };
        if of != server {
            continue;
        }
        for order in orders_of(&orders) {
            let found = holder.query_row(params![order, server], |row| Ok((id(row, 0), id(row, 1)))).optional()?;
            if let Some((Some(task), Some(token))) = found {
                seen.doing.push((*claim, task, token));
            }
        }
    }
    let after = after.map_or(Vec::new(), |claim| claim.0.into_bytes().to_vec());
    let mut page = read.sql(sql!("claim/page"))?;
    let mut rows = page.query(params![after, PAGE as i64])?;
    let (mut count, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        count += 1;
        last = id(row, 0);
        if bits(row, 1) == Some(server) {
            seen.claims.extend(last);
        }
    }
    seen.next = last.filter(|_| count == PAGE);
    Ok(seen)
}
