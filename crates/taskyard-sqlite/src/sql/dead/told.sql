update ty_dead set told = ?3, teller = null
where order_number = (select order_number from ty_task where id = ?1) and teller = ?2 and told = 0
