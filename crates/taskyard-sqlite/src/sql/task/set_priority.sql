update ty_task set priority = ?2 where order_number = ?1
