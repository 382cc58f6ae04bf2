delete from ty_cascade where parent = ?1
