select reason, run_at, parked from ty_waiting where order_number = ?1
