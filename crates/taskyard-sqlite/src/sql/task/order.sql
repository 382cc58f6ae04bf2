select order_number, attempt, state from ty_task where id = ?1
