select 1 from ty_schedule where name = ?1
