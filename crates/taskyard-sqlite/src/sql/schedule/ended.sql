select distinct r.schedule from ty_schedule_run r left join ty_task t on t.id = r.task_id
where r.open and r.task_id is not null and (t.id is null or t.state >= 3) limit ?1
