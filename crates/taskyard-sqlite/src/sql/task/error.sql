select error_type, error_message, error_traceback from ty_task where order_number = ?1
