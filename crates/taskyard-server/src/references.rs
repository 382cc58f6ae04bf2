//! Puts the results of parents into the arguments of a claimed Rust task, before its body begins. Python does it for
//! itself, where its values are read.

use std::collections::HashMap;

use taskyard_core::payload::references;
use taskyard_core::store::Claimed;
use taskyard_core::{Result, Store, TaskId};

/// Whether the task's arguments name results of its parents.
pub(crate) fn has_references(claimed: &Claimed) -> bool {
    claimed.has_parents
        && references::may_refer(&claimed.payload)
        && !references::declared(&claimed.payload, claimed.payload_encoded).is_empty()
}

/// Puts them in.
pub(crate) async fn fill(store: &dyn Store, claimed: &mut Claimed) -> Result<()> {
    let parents = store.parent_results(claimed.id).await?;
    let declared = references::declared(&claimed.payload, claimed.payload_encoded);
    let results: HashMap<TaskId, Option<&[u8]>> = parents
        .iter()
        .filter(|parent| declared.contains(&parent.id))
        .map(|parent| (parent.id, parent.result.as_deref()))
        .collect();
    claimed.payload = references::fill(&claimed.payload, &results);
    Ok(())
}
