select r.sequence, r.fire_at, r.task_id, t.state, t.finished_at, t.error_type, t.error_message
from ty_schedule_run r left join ty_task t on t.id = r.task_id
where r.open and r.schedule = ?1
order by r.sequence
