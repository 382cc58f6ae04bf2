delete from ty_edge where parent = ?1
