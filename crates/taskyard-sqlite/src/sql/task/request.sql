update ty_task
set cancel_requested = max(cancel_requested, ?2), stop_requested = max(stop_requested, ?3)
where order_number = ?1
