-- The children of a task.
SELECT e.child_id FROM taskyard.edge e WHERE e.parent_id = $1 ORDER BY e.child_id LIMIT $2
