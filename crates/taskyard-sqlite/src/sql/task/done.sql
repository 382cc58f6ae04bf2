update ty_task
set state = 4, result = ?2, finished_at = ?3, ended = 1, cancel_requested = 0, stop_requested = 0
where order_number = ?1
