update ty_task
set payload = coalesce(?2, payload), queue = coalesce(?3, queue), priority = coalesce(?4, priority), policy = ?5
where order_number = ?1
