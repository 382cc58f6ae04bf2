select name from ty_schedule where name > ?1 order by name limit ?2
