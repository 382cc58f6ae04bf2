//! Detects cycles within one batch of new tasks.
//!
//! A task can only name parents that exist already or are added in the same batch, and no task gains parents later. So
//! a cycle can only be within one batch, or between two open transactions; the engine finds the latter when it settles
//! them after their commits.

use std::collections::HashMap;

use crate::task::NewTask;
use crate::{Error, Result, TaskId};

/// Refuses a batch in which a task is its own ancestor.
///
/// # Errors
/// [`Error::Cycle`] with the ids along the cycle.
pub fn check_cycles(batch: &[NewTask]) -> Result<()> {
    if batch.iter().all(|task| task.parents.is_empty()) {
        return Ok(());
    }
    let index: HashMap<TaskId, usize> = batch.iter().enumerate().map(|(at, task)| (task.id, at)).collect();
    let inner: Vec<Vec<usize>> =
        batch.iter().map(|task| task.parents.iter().filter_map(|id| index.get(id).copied()).collect()).collect();
    // Depth-first without recursion: a chain may be 100,000 long. 0 = new, 1 = on the path, 2 = done.
    let mut mark = vec![0_u8; batch.len()];
    for start in 0..batch.len() {
        if mark[start] != 0 {
            continue;
        }
        let mut path = vec![(start, 0_usize)];
        mark[start] = 1;
        while let Some((node, next)) = path.last_mut() {
            let Some(&parent) = inner[*node].get(*next) else {
                mark[*node] = 2;
                path.pop();
                continue;
            };
            *next += 1;
            match mark[parent] {
                0 => {
                    mark[parent] = 1;
                    path.push((parent, 0));
                }
                1 => {
                    let from = path.iter().position(|(node, _)| *node == parent).unwrap_or(0);
                    return Err(Error::Cycle { ids: path[from..].iter().map(|(node, _)| batch[*node].id).collect() });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: TaskId, parents: &[TaskId]) -> NewTask {
        NewTask { id, parents: parents.to_vec(), ..NewTask::new("kind", b"{}".to_vec()) }
    }

    #[test]
    fn a_diamond_is_not_a_cycle_and_edges_may_point_both_ways() {
        let ids: [TaskId; 4] = std::array::from_fn(|_| TaskId::generate());
        let [a, b, c, d] = ids;
        check_cycles(&[task(d, &[b, c]), task(b, &[a]), task(c, &[a]), task(a, &[])]).unwrap();
    }

    #[test]
    fn a_cycle_and_a_self_parent_are_refused() {
        let ids: [TaskId; 3] = std::array::from_fn(|_| TaskId::generate());
        let [a, b, c] = ids;
        let error = check_cycles(&[task(a, &[c]), task(b, &[a]), task(c, &[b])]).unwrap_err();
        assert!(matches!(error, Error::Cycle { ids } if ids.len() == 3));
        assert!(check_cycles(&[task(a, &[a])]).is_err());
    }

    #[test]
    fn a_long_chain_does_not_recurse() {
        let ids: Vec<TaskId> = (0..100_000).map(|_| TaskId::generate()).collect();
        let chain: Vec<NewTask> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| task(*id, ids.get(at + 1).map_or(&[][..], std::slice::from_ref)))
            .collect();
        check_cycles(&chain).unwrap();
    }
}
