delete from ty_dead where order_number = ?1
