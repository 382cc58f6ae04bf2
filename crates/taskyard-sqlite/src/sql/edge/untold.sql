select child from ty_edge where parent = ?1 and child > ?2 and open order by child limit ?3
