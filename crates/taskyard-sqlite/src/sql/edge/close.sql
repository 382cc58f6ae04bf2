update ty_edge set open = 0 where parent = ?1 and child = ?2
