-- The records of some tasks, with their parents and why they wait.
SELECT t.id, t.kind, t.runtime, t.name, t.queue, t.priority, t.state, w.reason, w.parked, t.attempt, t.failures, t.lost,
    t.crashes, t.alone, t.cancel_requested, t.stop_requested, t.payload, t.result, t.error_type, t.error_message,
    t.error_traceback, CASE WHEN t.has_parents THEN
        (SELECT pg_catalog.array_agg(e.parent_id ORDER BY e.place) FROM taskyard.edge e WHERE e.child_id = t.id) END,
    t.on_parent_failure, t.fallen_from, t.policy, t.timeout_ms, t.tags, t.auto_remove, t.at_most_once, t.unique_key,
    t.created_at, t.run_at, t.expires_at, t.started_at, t.finished_at, t.server_id,
    CASE WHEN w.reason = 0 THEN (
        SELECT p.state FROM taskyard.edge e JOIN taskyard.task p ON p.id = e.parent_id
        WHERE e.child_id = t.id AND e.open ORDER BY p.state = 3 DESC, e.place LIMIT 1) END,
    CASE WHEN t.state = 6 OR t.cancel_requested THEN t.cancel_reason END, t.plain & 1::smallint = 0,
    t.runtime = 1 AND t.plain & 2::smallint = 0,
    t.runtime = 1 AND NOT (t.has_context AND coalesce(
        (SELECT x.plain FROM taskyard.task_context x WHERE x.task_id = t.id), false))
FROM taskyard.task t LEFT JOIN taskyard.waiting w ON w.task_id = t.id
WHERE t.id = ANY($1)
