select exists (select 1 from ty_schedule_run where open)
