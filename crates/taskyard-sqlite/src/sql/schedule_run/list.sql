select sequence, fire_at, until, count, outcome, manual, task_id, state, created_at, finished_at, error_type, error_message
from ty_schedule_run
where schedule = ?1 and sequence < ?2
order by sequence desc limit ?3
