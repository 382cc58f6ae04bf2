SELECT r.sequence, r.fire_at, r.until, r.count, r.outcome, r.manual, r.task_id, r.state, r.created_at, r.finished_at,
    r.error_type, r.error_message
FROM taskyard.schedule_run r
WHERE r.schedule = $1 AND ($2::bigint IS NULL OR r.sequence < $2)
ORDER BY r.sequence DESC LIMIT $3
