select runtime, kind from ty_task where order_number = ?1
