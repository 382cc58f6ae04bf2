delete from ty_refused where at <= ?1
