insert into ty_schedule_run (schedule, fire_at, until, count, outcome, manual, open, task_id, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
