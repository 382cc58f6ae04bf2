select count(*) from ty_edge where child = ?1 and open
