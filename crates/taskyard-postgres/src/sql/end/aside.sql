-- Sets the end of an attempt aside if the attempt still runs. Reply: 0 it is, 1 the task has left `doing` under this token,
-- 2 the token does not fit. Takes no lock on the task: the right to do so may be what is missing.
WITH x AS MATERIALIZED (
    SELECT t.id, t.token = $2 AS fits, t.state FROM taskyard.task t
    WHERE t.id = $1 AND pg_catalog.set_config('lock_timeout', '1000', true) IS NOT NULL
), i AS (
    INSERT INTO taskyard.end_aside AS a (task_id, token, since, reason, code, result, after_us, error_type, error_message,
        error_traceback, context)
    SELECT x.id, $2, taskyard.now(), $3, $4, $5, $6, $7, $8, $9, $10 FROM x WHERE x.fits AND x.state = 2
    ON CONFLICT (task_id) DO UPDATE SET token = excluded.token,
        since = CASE WHEN a.token = excluded.token THEN a.since ELSE excluded.since END, reason = excluded.reason,
        code = excluded.code, result = excluded.result, after_us = excluded.after_us, error_type = excluded.error_type,
        error_message = excluded.error_message, error_traceback = excluded.error_traceback, context = excluded.context
)
SELECT CASE WHEN NOT coalesce(x.fits, false) THEN 2 WHEN x.state = 2 THEN 0 ELSE 1 END::smallint,
    coalesce(x.state, 0::smallint)
FROM (SELECT) one LEFT JOIN x ON true
