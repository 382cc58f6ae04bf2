update ty_schedule_run set outcome = 0, task_id = ?2 where sequence = ?1
