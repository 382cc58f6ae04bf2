-- Applies decisions to the rows of schedules, each only to the version that it was made for; returns the names of those
-- that applied. A row locked by another transaction is skipped until the next query, so that no caller waits for it.
WITH x AS (
    SELECT * FROM pg_catalog.json_to_recordset($1::json) AS x(name text, version bigint, planned boolean, paused boolean, ended boolean, problem text,
        next_at timestamptz, last_at timestamptz, runs bigint, failures bigint, last_state smallint)
), locked AS (
    SELECT s.name FROM taskyard.schedule s WHERE s.name IN (SELECT x.name FROM x) ORDER BY s.name FOR UPDATE SKIP LOCKED
)
UPDATE taskyard.schedule s SET planned = x.planned, paused = x.paused, ended = x.ended, problem = x.problem,
    next_at = x.next_at, last_at = x.last_at, runs = s.runs + x.runs, failures = x.failures, last_state = x.last_state
FROM x JOIN locked USING (name)
WHERE s.name = x.name AND s.version = x.version
RETURNING s.name
