-- Snapshots of watched tasks: $1 ids, $2 number of attempts that the watcher has of each, $3 revisions of the contexts that
-- it has. A context with an unchanged revision (the version of its row) is not read.
SELECT t.id, t.state, w.reason, t.attempt, t.failures, t.created_at, t.run_at, t.started_at, t.finished_at, t.error_type,
    t.error_message, x.revision, x.context, a.numbers, a.outcomes, a.starts, a.ends, a.types, a.messages
FROM unnest($1, $2, $3) AS q(id, known, revision)
    JOIN taskyard.task t ON t.id = q.id
    LEFT JOIN taskyard.waiting w ON w.task_id = t.id
    LEFT JOIN LATERAL (
        SELECT c.xmin::text::bigint AS revision,
            CASE WHEN c.xmin::text::bigint IS DISTINCT FROM q.revision THEN c.context END AS context
        FROM taskyard.task_context c WHERE c.task_id = t.id
    ) x ON true
    LEFT JOIN LATERAL (
        SELECT pg_catalog.array_agg(a.number ORDER BY a.id) AS numbers, pg_catalog.array_agg(a.outcome ORDER BY a.id) AS outcomes,
            pg_catalog.array_agg(a.started_at ORDER BY a.id) AS starts, pg_catalog.array_agg(a.ended_at ORDER BY a.id) AS ends,
            pg_catalog.array_agg(a.error_type ORDER BY a.id) AS types, pg_catalog.array_agg(a.error_message ORDER BY a.id) AS messages
        FROM taskyard.attempt a WHERE a.task_id = t.id AND a.number > least(q.known, t.attempt - 2)
    ) a ON t.attempt > 0
