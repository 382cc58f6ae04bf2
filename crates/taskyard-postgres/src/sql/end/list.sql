-- Ends that are set aside, of any task or of some.
SELECT a.task_id, a.token, a.since, a.reason, a.code, a.result, a.after_us, a.error_type, a.error_message,
    a.error_traceback, a.context
FROM taskyard.end_aside a
WHERE ($1::uuid[] IS NULL OR a.task_id = ANY($1)) AND ($2::uuid IS NULL OR a.task_id > $2)
ORDER BY a.task_id LIMIT $3
