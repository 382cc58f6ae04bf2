-- Log lines after a sequence number, oldest first.
SELECT l.sequence, l.attempt, l.created_at, l.level, l.logger, l.message, l.fields, l.traceback
FROM taskyard.task_log l WHERE l.task_id = $1 AND l.sequence > $2 ORDER BY l.sequence LIMIT $3
