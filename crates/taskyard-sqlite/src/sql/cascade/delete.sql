delete from ty_cascade where parent = ?1 and fate = ?2
