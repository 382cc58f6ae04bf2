select order_number from ty_task where id > ?1 order by id limit ?2
