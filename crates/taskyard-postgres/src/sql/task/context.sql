-- Whether there is such a task, and its context.
SELECT x.context FROM taskyard.task t LEFT JOIN taskyard.task_context x ON x.task_id = t.id WHERE t.id = $1
