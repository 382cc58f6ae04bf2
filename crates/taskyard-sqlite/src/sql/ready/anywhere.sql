select 1 from ty_ready where order_number = ?1
