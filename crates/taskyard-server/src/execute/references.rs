//! Substitutes the results of parents into the arguments of a claimed Rust task before its body begins. Python does the
//! same in the child process, where the values are decoded.

use std::collections::HashMap;

use taskyard_core::payload::references;
use taskyard_core::store::Claimed;
use taskyard_core::{Limits, Result, Store, TaskId};

/// Returns true if the task's arguments refer to results of its parents.
pub(crate) fn has_references(claimed: &Claimed) -> bool {
    claimed.has_parents
        && references::may_refer(&claimed.payload)
        && !references::declared(&claimed.payload, claimed.payload_encoded).is_empty()
}

/// Substitutes the parents' results into the arguments. The resulting size is checked before any result is read.
///
/// # Errors
/// [`Error::OverLimit`] if the filled arguments exceed `max` bytes, which is a fault of the task; the store's errors if
/// the database cannot be read, which are not.
pub(crate) async fn fill(store: &dyn Store, claimed: &mut Claimed, max: usize) -> Result<()> {
    let declared = references::declared(&claimed.payload, claimed.payload_encoded);
    let sizes = store.parent_sizes(claimed.id).await?;
    let sizes = sizes.into_iter().filter(|(id, _)| declared.contains(id)).collect();
    let size = references::filled_len(&claimed.payload, &sizes);
    Limits::check_size("arguments with their parents' results", "arguments_filled_bytes_max", size, max)?;
    let parents = store.parent_results(claimed.id).await?;
    let results: HashMap<TaskId, Option<&[u8]>> = parents
        .iter()
        .filter(|parent| declared.contains(&parent.id))
        .map(|parent| (parent.id, parent.result.as_deref()))
        .collect();
    claimed.payload = references::fill(&claimed.payload, &results);
    Ok(())
}
