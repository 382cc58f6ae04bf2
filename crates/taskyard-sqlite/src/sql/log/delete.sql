delete from ty_task_log where order_number = ?1
