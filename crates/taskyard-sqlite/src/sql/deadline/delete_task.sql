delete from ty_deadline where order_number = ?1
