delete from ty_schedule where name = ?1
