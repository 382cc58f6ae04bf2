-- Applies decisions to the rows of schedules, each only on the version that it was made on; answers the names of those
-- that applied. In the order of the names, as every writer of several rows locks them.
WITH x AS (
    SELECT * FROM json_to_recordset($1::json) AS x(name text, version bigint, paused boolean, ended boolean, problem text,
        next_at timestamptz, last_at timestamptz, runs bigint, failures bigint, last_state smallint)
), locked AS (
    SELECT s.name FROM taskyard.schedule s WHERE s.name IN (SELECT x.name FROM x) ORDER BY s.name FOR UPDATE
)
UPDATE taskyard.schedule s SET planned = true, paused = x.paused, ended = x.ended, problem = x.problem,
    next_at = x.next_at, last_at = x.last_at, runs = s.runs + x.runs, failures = x.failures, last_state = x.last_state
FROM x JOIN locked USING (name)
WHERE s.name = x.name AND s.version = x.version
RETURNING s.name
