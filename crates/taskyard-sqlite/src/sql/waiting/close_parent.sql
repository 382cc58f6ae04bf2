update ty_waiting
set open_parents = open_parents - 1
where order_number = ?1 and reason = 0
returning open_parents
