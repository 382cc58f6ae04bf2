-- The database's time, how long until the next schedule is due, whether runs are open, and the names of those about
-- which something is to be decided: their time has come, their row changed, or the task of an open run has ended.
WITH t AS MATERIALIZED (SELECT taskyard.now() AS now)
SELECT t.now,
    (SELECT taskyard.micros_until(pg_catalog.min(s.next_at), t.now) FROM taskyard.schedule s
        WHERE s.planned AND NOT s.paused AND NOT s.ended AND s.problem IS NULL),
    EXISTS (SELECT FROM taskyard.schedule_run r WHERE r.open),
    ARRAY(
        (SELECT s.name FROM taskyard.schedule s
            WHERE s.planned AND NOT s.paused AND NOT s.ended AND s.problem IS NULL AND s.next_at <= t.now
            ORDER BY s.next_at LIMIT $1)
        UNION
        (SELECT s.name FROM taskyard.schedule s WHERE NOT s.planned AND NOT s.paused AND s.problem IS NULL LIMIT $1)
        UNION
        (SELECT DISTINCT r.schedule FROM taskyard.schedule_run r LEFT JOIN taskyard.task k ON k.id = r.task_id
            WHERE r.open AND r.task_id IS NOT NULL AND (k.id IS NULL OR k.state >= 3) LIMIT $1))
FROM t
