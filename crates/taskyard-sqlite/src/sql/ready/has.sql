select 1 from ty_ready where lane = ?1 and rank = ?2 and order_number = ?3
