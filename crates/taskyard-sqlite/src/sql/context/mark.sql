update ty_task set has_context = 1 where order_number = ?1
