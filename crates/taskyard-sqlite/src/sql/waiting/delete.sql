delete from ty_waiting where order_number = ?1
