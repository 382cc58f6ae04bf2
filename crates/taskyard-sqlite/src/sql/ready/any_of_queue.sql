select 1 from ty_ready where lane = ?1 and queue = ?2
