select order_number, state, fallen_from, has_children from ty_task where id = ?1
