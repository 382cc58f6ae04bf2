select priority from ty_task where order_number = ?1
