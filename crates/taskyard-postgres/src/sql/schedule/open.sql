-- The open runs of schedules with what is known of their tasks now.
SELECT r.schedule, r.sequence, r.fire_at, r.task_id, t.state, t.finished_at, t.error_type, t.error_message
FROM taskyard.schedule_run r LEFT JOIN taskyard.task t ON t.id = r.task_id
WHERE r.open AND r.schedule = ANY ($1)
ORDER BY r.schedule, r.sequence
