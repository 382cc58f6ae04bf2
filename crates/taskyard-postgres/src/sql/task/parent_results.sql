-- The parents of a task as it sees them, in the order in which they were given.
SELECT p.id, p.state, CASE WHEN p.state = 4 THEN p.result END, CASE WHEN p.state = 5 THEN p.error_type END,
    CASE WHEN p.state = 5 THEN p.error_message END, CASE WHEN p.state = 5 THEN p.error_traceback END,
    p.runtime = 1 AND p.plain & 2::smallint = 0
FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id WHERE e.child_id = $1 ORDER BY e.place
