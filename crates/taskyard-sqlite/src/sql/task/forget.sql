update ty_task
set result = null, error_type = null, error_message = null, error_traceback = null, cancel_reason = null
where order_number = ?1
