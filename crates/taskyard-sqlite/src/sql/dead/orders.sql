select order_number from ty_dead
