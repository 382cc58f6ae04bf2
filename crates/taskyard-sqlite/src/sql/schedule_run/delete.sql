delete from ty_schedule_run where schedule = ?1
