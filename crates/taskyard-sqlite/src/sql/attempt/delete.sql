delete from ty_attempt where order_number = ?1
