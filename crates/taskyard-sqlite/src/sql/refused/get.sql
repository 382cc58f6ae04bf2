select 1 from ty_refused where id = ?1
