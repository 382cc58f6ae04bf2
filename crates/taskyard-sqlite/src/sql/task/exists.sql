select 1 from ty_task where id = ?1
