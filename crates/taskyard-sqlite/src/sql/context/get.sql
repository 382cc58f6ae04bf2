select context, plain from ty_task_context where order_number = ?1
