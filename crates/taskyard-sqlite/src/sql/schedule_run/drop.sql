update ty_schedule_run set outcome = 2, open = 0 where sequence = ?1
