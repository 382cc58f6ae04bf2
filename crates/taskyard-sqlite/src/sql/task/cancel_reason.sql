update ty_task set cancel_reason = ?2 where order_number = ?1
