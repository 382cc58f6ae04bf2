update ty_task set error_type = ?2, error_message = ?3, error_traceback = ?4 where order_number = ?1
