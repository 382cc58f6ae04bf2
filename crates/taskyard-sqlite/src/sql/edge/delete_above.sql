delete from ty_edge where child = ?1
