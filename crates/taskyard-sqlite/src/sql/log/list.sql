select sequence, attempt, level, logger, message, fields, traceback, created_at
from ty_task_log
where order_number = ?1 and sequence > ?2
order by sequence
limit ?3
