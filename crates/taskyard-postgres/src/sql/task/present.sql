-- Those of these tasks that are there: $1 ids. Each is looked up by its key, however many tasks there are.
SELECT q.id FROM pg_catalog.unnest($1) AS q(id) CROSS JOIN LATERAL (SELECT 1 FROM taskyard.task t WHERE t.id = q.id LIMIT 1) x
