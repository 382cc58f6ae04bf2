-- The attempts of a task that are kept as rows, and the one that lives in the task's own row, oldest first.
SELECT a.number, a.server_id, a.started_at, a.ended_at, a.outcome, a.error_type, a.error_message, a.error_traceback
FROM taskyard.attempt a WHERE a.task_id = $1
UNION ALL
SELECT t.attempt, t.server_id, t.started_at, CASE WHEN t.state = 2 THEN NULL ELSE t.finished_at END,
    CASE t.state WHEN 2 THEN 0 WHEN 3 THEN 6 WHEN 4 THEN 1 WHEN 5 THEN 2 ELSE 7 END::smallint,
    CASE WHEN t.state = 5 THEN t.error_type END, CASE WHEN t.state = 5 THEN t.error_message END,
    CASE WHEN t.state = 5 THEN t.error_traceback END
FROM taskyard.task t
WHERE t.id = $1 AND t.attempt > 0 AND t.state BETWEEN 2 AND 6 AND t.started_at IS NOT NULL AND t.fallen_from IS NULL
    AND NOT EXISTS (SELECT FROM taskyard.attempt a WHERE a.task_id = $1 AND a.number = t.attempt)
ORDER BY 1
