update ty_task set has_children = 1 where order_number = ?1
