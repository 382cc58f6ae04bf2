//! `task show --tree`: prints a task's descendants, each once, up to a maximum.

use std::collections::HashSet;

use serde_json::{Value, json};
use taskyard::{Store, TaskRecord};
use taskyard_terminal::{Failure, Out, Style, escape};

/// Most tasks that are shown.
const TASKS_MAX: usize = 1_000;
/// Most children read per task.
const CHILDREN_MAX: usize = 200;

/// Prints the tree depth first, without recursion, because a chain may be 10,000 tasks long.
pub(super) async fn print(out: Out, store: &dyn Store, root: TaskRecord) -> Result<u8, Failure> {
    let style = Style::of_stdout();
    let mut rows: Vec<Value> = Vec::new();
    let mut seen = HashSet::from([root.id]);
    let mut stack = vec![(0_usize, root)];
    let mut shown = 0;
    while let Some((depth, record)) = stack.pop() {
        shown += 1;
        if out.is_json() {
            rows.push(json!({
                "id": record.id, "depth": depth, "name": record.name, "state": record.state, "parents": record.parents,
            }));
        } else {
            let (indentation, state) = ("  ".repeat(depth.min(40)), style.state(record.state.as_str()));
            out.shown(format_args!("{indentation}{} {state} {}", record.id, escape::line(&record.name)))?;
        }
        if shown + stack.len() >= TASKS_MAX {
            continue;
        }
        let children = store.children(record.id, CHILDREN_MAX).await?;
        let fresh: Vec<_> = children.into_iter().filter(|id| seen.insert(*id)).collect();
        let mut records: Vec<TaskRecord> = store.get(&fresh).await?.into_iter().flatten().collect();
        records.reverse();
        stack.extend(records.into_iter().map(|record| (depth + 1, record)));
    }
    if out.is_json() {
        out.json(&rows)?;
    } else if shown >= TASKS_MAX {
        out.line(format_args!(
            "… the first {shown} tasks; run `taskyard task show --tree` on one of them for the tasks below it"
        ))?;
    }
    Ok(0)
}
