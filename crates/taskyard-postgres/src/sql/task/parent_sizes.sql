-- How large the results of a task's parents are; a length is read without the value.
SELECT p.id, coalesce(CASE WHEN p.state = 4 THEN pg_catalog.octet_length(p.result) END, 4)::bigint
FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id WHERE e.child_id = $1
