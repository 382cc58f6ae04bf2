select 1 from ty_task where id = ?1 and state not in (5, 6)
