update ty_dead set teller = ?2 where order_number = ?1
